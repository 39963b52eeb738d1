package minisign

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"math/rand/v2"
	"testing"
)

// Every change of a bit in a signature, key or message is judged as the standard library judges it.
func TestEd25519IsTheStandardLibrarys(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 20 {
		seed, message := make([]byte, 32), make([]byte, n)
		for i := range seed {
			seed[i] = byte(random.Uint32())
		}
		private := ed25519.NewKeyFromSeed(seed)
		key := bytes.Clone(private[32:])
		signature := ed25519.Sign(private, message)
		if !verifyEd25519(key, message, signature) {
			t.Fatalf("a good signature is refused: key %x, message %x, signature %x", key, message, signature)
		}
		for range 10 {
			k, m, s := bytes.Clone(key), bytes.Clone(message), bytes.Clone(signature)
			target := [][]byte{k, m, s, s}[random.IntN(4)]
			if len(target) == 0 {
				continue
			}
			target[random.IntN(len(target))] ^= 1 << random.IntN(8)
			compare(t, k, m, s)
		}
	}
}

func compare(t *testing.T, key, message, signature []byte) bool {
	t.Helper()
	got, want := verifyEd25519(key, message, signature), ed25519.Verify(key, message, signature)
	if got != want {
		t.Errorf("key %x, message %x, signature %x: %v, and the standard library says %v", key, message, signature, got, want)
	}
	return got
}

// Points of small order, encodings that are not canonical, and an S that is not reduced: where implementations
// differ (Chalkias, Garillot, Nikolaenko: Taming the many EdDSAs).
func TestEd25519AtTheEdges(t *testing.T) {
	points := []string{
		"0100000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000080",
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0000000000000000000000000000000000000000000000000000000000000080",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"5866666666666666666666666666666666666666666666666666666666666666",
	}
	scalars := []string{
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"ecd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010", // L-1
		"edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010", // L
		"eed3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010",
		"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	}
	accepted, m := 0, byte(0)
	for i, key := range points {
		for j, r := range points {
			if (i+j)%10 != 0 { // a tenth of them is enough of the same
				continue
			}
			for _, s := range scalars {
				k, _ := hex.DecodeString(key)
				signature, _ := hex.DecodeString(r + s)
				if compare(t, k, []byte{m}, signature) {
					accepted++
				}
				m++ // what a small point verifies depends on the hash
			}
		}
	}
	if accepted == 0 {
		t.Error("no edge was hit: points of small order verify something")
	}
}

// RFC 8032, 7.1, tests 1 to 3.
func TestEd25519OfTheRFC(t *testing.T) {
	for _, c := range []struct{ key, message, signature string }{
		{"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
			"e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"},
		{"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
			"92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
		{"fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
			"6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"},
	} {
		key, _ := hex.DecodeString(c.key)
		message, _ := hex.DecodeString(c.message)
		signature, _ := hex.DecodeString(c.signature)
		if !verifyEd25519(key, message, signature) {
			t.Errorf("the signature of %q is refused", c.message)
		}
	}
}

func FuzzEd25519(f *testing.F) {
	private := ed25519.NewKeyFromSeed(make([]byte, 32))
	f.Add([]byte(private[32:]), []byte("message"), ed25519.Sign(private, []byte("message")))
	f.Fuzz(func(t *testing.T, key, message, signature []byte) {
		if len(key) == 32 { // of others the standard library panics
			compare(t, key, message, signature)
		}
	})
}

func BenchmarkEd25519(b *testing.B) {
	private := ed25519.NewKeyFromSeed(make([]byte, 32))
	signature := ed25519.Sign(private, nil)
	for b.Loop() {
		verifyEd25519(private[32:], nil, signature)
	}
}
