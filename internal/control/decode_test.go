//go:build linux

package control

import (
	"strings"
	"testing"
)

func TestDecodeStrictly(t *testing.T) {
	for _, text := range []string{
		"", "{", "}", `{"ok":}`, `{"ok":true,}`, `{"ok":tru}`, `{"nosuch":1}`, `{"ok":true} x`, `{"ok":true}{}`, `{"ok":1}`,
		`{"error":{"reason":"a`, "{\"error\":{\"reason\":\"a\nb\"}}", strings.Repeat("[", 100000),
		`{"status":` + strings.Repeat(`{"main":`, 100),
	} {
		if err := decodeStrictly([]byte(text), new(Line)); err == nil {
			t.Errorf("%.40q was read", text)
		}
	}
	var line Line
	if err := decodeStrictly([]byte(` {"error":{"reason":"é","exit_code":2}} `), &line); err != nil || *line.Error != (Error{"é", 2}) {
		t.Errorf("%+v, %v", line, err)
	}
}
