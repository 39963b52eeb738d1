package control

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// decode reads a JSON value (RFC 8259) into what into points to, by the same rules as encoding/json, but strictly:
// names match exactly, and an unknown one is an error, as is anything behind the value. encoding/json's own decoder
// would make the init 55 KB larger; the tests compare the two.
func decode(text []byte, into any) error {
	d := decoder{text: string(text)}
	if err := d.value(reflect.ValueOf(into).Elem(), 0); err != nil {
		return fmt.Errorf("at byte %d: %w", d.at+1, err)
	}
	if d.next() != 0 {
		return fmt.Errorf("at byte %d: something follows the JSON value", d.at+1)
	}
	return nil
}

type decoder struct {
	text string
	at   int
}

// maxDepth is more than any line has.
const maxDepth = 8

// next skips white space and returns the byte that follows, zero at the end. A zero byte is valid nowhere outside
// of strings, nor inside.
func (d *decoder) next() byte {
	for ; d.at < len(d.text); d.at++ {
		switch c := d.text[d.at]; c {
		case ' ', '\t', '\r', '\n':
		case 0:
			return '\x01'
		default:
			return c
		}
	}
	return 0
}

// take skips white space and one byte, which must be c.
func (d *decoder) take(c byte) error {
	if d.next() != c {
		return fmt.Errorf("%q expected", c)
	}
	d.at++
	return nil
}

func (d *decoder) value(v reflect.Value, depth int) error {
	if depth > maxDepth {
		return errors.New("nested too deeply")
	}
	c := d.next()
	if c == 'n' {
		return d.word("null") // changes nothing
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		return d.value(v.Elem(), depth)
	}
	if t, ok := v.Addr().Interface().(*time.Time); ok {
		text, err := d.str()
		if err == nil {
			err = t.UnmarshalText([]byte(text))
		}
		return err
	}
	switch kind := v.Kind(); {
	case kind == reflect.Struct && c == '{', kind == reflect.Map && c == '{':
		return d.object(v, depth)
	case kind == reflect.Slice && c == '[':
		return d.array(v, depth)
	case kind == reflect.String && c == '"':
		text, err := d.str()
		v.SetString(text)
		return err
	case kind == reflect.Bool && c == 't':
		v.SetBool(true)
		return d.word("true")
	case kind == reflect.Bool && c == 'f':
		v.SetBool(false)
		return d.word("false")
	case c == '-' || c >= '0' && c <= '9':
		return d.number(v)
	}
	return fmt.Errorf("%s expected", wordFor(v.Kind()))
}

func wordFor(k reflect.Kind) string {
	switch k {
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice:
		return "an array"
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	}
	return "a number"
}

func (d *decoder) word(w string) error {
	if !strings.HasPrefix(d.text[d.at:], w) {
		return fmt.Errorf("%s expected", w)
	}
	d.at += len(w)
	return nil
}

func (d *decoder) object(v reflect.Value, depth int) error {
	isMap := v.Kind() == reflect.Map
	if isMap {
		v.Set(reflect.MakeMap(v.Type()))
	}
	return d.list('{', '}', func() error {
		name, err := d.str()
		if err == nil {
			err = d.take(':')
		}
		if err != nil {
			return err
		}
		if isMap {
			member := reflect.New(v.Type().Elem()).Elem()
			err := d.value(member, depth+1)
			v.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), member)
			return err
		}
		for i := range v.NumField() {
			if tag, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ","); tag == name {
				return d.value(v.Field(i), depth+1)
			}
		}
		return fmt.Errorf("unknown field %.40q", name)
	})
}

func (d *decoder) array(v reflect.Value, depth int) error {
	v.SetZero()
	return d.list('[', ']', func() error {
		member := reflect.New(v.Type().Elem()).Elem()
		err := d.value(member, depth+1)
		v.Set(reflect.Append(v, member))
		return err
	})
}

// list reads members with commas between them.
func (d *decoder) list(open, end byte, member func() error) error {
	if err := d.take(open); err != nil {
		return err
	}
	if d.next() == end {
		d.at++
		return nil
	}
	for {
		if err := member(); err != nil {
			return err
		}
		if d.next() == end {
			d.at++
			return nil
		}
		if err := d.take(','); err != nil {
			return err
		}
	}
}

func (d *decoder) number(v reflect.Value) error {
	rest := d.text[d.at:]
	length := len(rest) - len(strings.TrimLeft(rest, "+-.eE0123456789"))
	text := rest[:length]
	digits := strings.TrimPrefix(text, "-")
	if len(digits) > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9' ||
		strings.HasPrefix(digits, ".") || strings.HasSuffix(digits, ".") || strings.Contains(digits, ".e") || strings.Contains(digits, ".E") {
		return fmt.Errorf("%.40q is not a number in JSON", text)
	}
	var err error
	switch v.Kind() {
	case reflect.Int:
		var n int64
		n, err = strconv.ParseInt(text, 10, 64)
		v.SetInt(n)
	case reflect.Uint64:
		var n uint64
		n, err = strconv.ParseUint(text, 10, 64)
		v.SetUint(n)
	case reflect.Float64:
		var f float64
		f, err = strconv.ParseFloat(text, 64)
		v.SetFloat(f)
	default:
		return fmt.Errorf("%s expected", wordFor(v.Kind()))
	}
	if err != nil {
		return fmt.Errorf("%.40q is no number that fits here", text)
	}
	d.at += length
	return nil
}

// str reads a string. What is not UTF-8 becomes U+FFFD.
func (d *decoder) str() (string, error) {
	if err := d.take('"'); err != nil {
		return "", err
	}
	var text []byte
	for d.at < len(d.text) {
		switch c := d.text[d.at]; {
		case c == '"':
			d.at++
			return string(text), nil
		case c < ' ':
			return "", errors.New("control character in a string")
		case c == '\\':
			r, err := d.escape()
			if err != nil {
				return "", err
			}
			text = utf8.AppendRune(text, r)
		default:
			r, size := utf8.DecodeRuneInString(d.text[d.at:])
			d.at += size
			text = utf8.AppendRune(text, r)
		}
	}
	return "", errors.New("the string has no end")
}

// escape reads what begins with a backslash.
func (d *decoder) escape() (rune, error) {
	const short = `"\/bfnrt`
	const meant = "\"\\/\b\f\n\r\t"
	if d.at+1 < len(d.text) {
		if i := strings.IndexByte(short, d.text[d.at+1]); i >= 0 {
			d.at += 2
			return rune(meant[i]), nil
		}
	}
	first, ok := d.unit(d.at)
	if !ok {
		return 0, errors.New("no such escape in a string")
	}
	d.at += unitSize
	if second, ok := d.unit(d.at); ok {
		if r := utf16.DecodeRune(first, second); r != utf8.RuneError {
			d.at += unitSize
			return r, nil
		}
	}
	if utf16.IsSurrogate(first) {
		return utf8.RuneError, nil
	}
	return first, nil
}

const unitSize = len(`\u0000`)

// unit reads a UTF-16 code unit.
func (d *decoder) unit(at int) (rune, bool) {
	if len(d.text)-at < unitSize || !strings.HasPrefix(d.text[at:], `\u`) {
		return 0, false
	}
	n, err := strconv.ParseUint(d.text[at+2:at+unitSize], 16, 16)
	return rune(n), err == nil
}
