// Package digest computes SHA-256, SHA-512 and BLAKE2b-512.
//
// It is there for its size. The standard library lacks BLAKE2b, and its SHA-2 and Ed25519 bring 170 KB of
// self-tests, ciphers and random numbers for FIPS 140 into the program, a twentieth of it. The tests compare every
// function with the standard library's.
package digest

// Hash is a digest in the making.
type Hash struct {
	state     [8]uint64
	block     [128]byte
	filled    int    // bytes of block that are in use
	length    uint64 // bytes written so far
	blockSize int    // of block, what compress takes
	compress  func(h *Hash, last bool)
	encode    func(digest []byte, word uint64) []byte
}

// initial are the first 64 bits of the fractional parts of the square roots of the first eight primes: the
// initial state of SHA-512 (FIPS 180-4, 5.3.5) and of BLAKE2b (RFC 7693, 2.6), and half of it that of SHA-256.
var initial = [8]uint64{
	0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
	0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
}

// Write never fails.
func (h *Hash) Write(p []byte) (int, error) {
	written := len(p)
	for len(p) > 0 {
		// A full block waits for what follows: BLAKE2b compresses the last one differently.
		if h.filled == h.blockSize {
			h.compress(h, false)
			h.filled = 0
		}
		n := copy(h.block[h.filled:h.blockSize], p)
		h.filled += n
		h.length += uint64(n)
		p = p[n:]
	}
	return written, nil
}

// Sum ends the hash and returns the digest. Nothing may be written afterwards.
func (h *Hash) Sum() []byte {
	clear(h.block[h.filled:])
	h.compress(h, true)
	var digest []byte
	for _, word := range h.state {
		digest = h.encode(digest, word)
	}
	return digest
}
