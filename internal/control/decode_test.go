package control

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestDecode(t *testing.T) {
	n := 7
	for _, line := range []Line{
		{OK: true},
		{Error: &Error{Reason: "a \"b\" \\ \u2028 \x00\x1f é 😀 <&>", ExitCode: 2}},
		{Progress: &Progress{Upgrade: 3, Step: StepDone, Elapsed: 1.5, Connections: &n, Final: true}},
		{Status: &Status{Version: "v", Started: time.Unix(1e9, 5).UTC(), Main: &Process{PID: 2}, Listeners: []Listener{{"a", "b"}, {}},
			Store: []Stored{{"x", 3}}, Counters: Counters{Upgrades: map[Step]int{StepInPlace: 2}, Reaped: 1 << 63}}},
	} {
		text, err := json.Marshal(line)
		if err != nil {
			t.Fatal(err)
		}
		var got Line
		if err := decode(text, &got); err != nil || !reflect.DeepEqual(got, line) {
			t.Errorf("%s\nbecame %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "{", "}", `{"ok":}`, `{"ok":true,}`, `{"ok":tru}`, `{"nosuch":1}`, `{"ok":true} x`, `{"ok":1}`, `{"error":{"exit_code":1.5}}`,
		`{"error":{"exit_code":01}}`, `{"error":{"reason":"a`, `{"error":{"reason":"\x"}}`, `{"error":{"reason":"\u12"}}`,
		"{\"error\":{\"reason\":\"a\nb\"}}", strings.Repeat("[", 100000), `{"status":` + strings.Repeat(`{"main":`, 100),
	} {
		if err := decode([]byte(text), new(Line)); err == nil {
			t.Errorf("%.40q was read", text)
		}
	}
}

// FuzzDecode compares decode with encoding/json, as strict as that can be made.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{
		`{"op":"upgrade","binary":true,"sha256":"00"}`, `{"op":"\ud83d\ude00\ud800x\/"}`, ` { "op" : null } `, `{"op":"a","op":"b"}`,
		"{\"op\":\"\xff\"}", `{"binary":false}x`, `[]`, `{"OP":"x"}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var got, want Ask
		err := decode(text, &got)
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.DisallowUnknownFields()
		wantErr := decoder.Decode(&want)
		if wantErr == nil && len(bytes.TrimSpace(text[decoder.InputOffset():])) > 0 {
			return // both refuse, if for other reasons
		}
		switch {
		case err == nil && wantErr != nil:
			t.Fatalf("%q was read as %+v; encoding/json: %v", text, got, wantErr)
		case err == nil && got != want:
			t.Fatalf("%q: %+v, encoding/json has %+v", text, got, want)
		case err != nil && wantErr == nil && plain(text): // encoding/json takes NAME for name
			t.Fatalf("%q: %v, encoding/json has %+v", text, err, want)
		}
	})
}

func plain(text []byte) bool {
	for _, c := range text {
		if c >= 0x80 || c >= 'A' && c <= 'Z' {
			return false
		}
	}
	return true
}
