package minisign

import (
	"encoding/hex"
	"testing"
)

// RFC 7693, appendix A.
func TestHashOfTheRFC(t *testing.T) {
	const want = "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1" +
		"7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923"
	h := NewHash()
	_, _ = h.Write([]byte("abc"))
	if got := hex.EncodeToString(h.Sum()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func BenchmarkHash(b *testing.B) {
	h, chunk := NewHash(), make([]byte, 1<<16)
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		_, _ = h.Write(chunk)
	}
}
