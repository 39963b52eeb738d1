//go:build linux

package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// decodeStrictly reads a JSON value: an unknown name is an error, as is anything behind the value.
func decodeStrictly(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON value")
	}
	return nil
}
