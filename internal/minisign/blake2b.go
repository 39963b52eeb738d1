package minisign

import (
	"encoding/binary"
	"math/bits"
)

// Hash computes BLAKE2b-512 without a key (RFC 7693), which the standard library lacks.
type Hash struct {
	state  [8]uint64
	block  [128]byte
	filled int    // bytes of block that are in use
	length uint64 // bytes hashed so far; below 2^64, so the upper half of RFC 7693's counter stays zero
}

// NewHash returns the hash of a prehashed signature.
func NewHash() *Hash {
	h := &Hash{state: initial}
	h.state[0] ^= 0x01010000 ^ 64 // RFC 7693, 2.5: fanout and depth 1, no key, 64 bytes of digest
	return h
}

// Write never fails.
func (h *Hash) Write(p []byte) (int, error) {
	written := len(p)
	for len(p) > 0 {
		// A full block waits for the next byte: the last one is compressed differently.
		if h.filled == len(h.block) {
			h.compress(0)
			h.filled = 0
		}
		n := copy(h.block[h.filled:], p)
		h.filled += n
		h.length += uint64(n)
		p = p[n:]
	}
	return written, nil
}

// Sum ends the hash and returns the digest. Nothing may be written afterwards.
func (h *Hash) Sum() []byte {
	clear(h.block[h.filled:])
	h.compress(^uint64(0))
	digest := make([]byte, 0, 64)
	for _, word := range h.state {
		digest = binary.LittleEndian.AppendUint64(digest, word)
	}
	return digest
}

// initial is the state of SHA-512 (RFC 7693, 2.6).
var initial = [8]uint64{
	0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
	0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
}

// sigma is the order in which each round takes the words of the block (RFC 7693, 2.7).
var sigma = [10][16]byte{
	{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
	{14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
	{11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
	{7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
	{9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
	{2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
	{12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
	{13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
	{6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
	{10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
}

// compress is the function F of RFC 7693, 3.2. last is all ones for the last block, else zero.
func (h *Hash) compress(last uint64) {
	var m, v [16]uint64
	for i := range m {
		m[i] = binary.LittleEndian.Uint64(h.block[8*i:])
	}
	copy(v[:8], h.state[:])
	copy(v[8:], initial[:])
	v[12] ^= h.length
	v[14] ^= last
	for round := range uint(12) {
		order := &sigma[round%10]
		for i := range uint(8) {
			// Four columns, then four diagonals: in the second half each row is shifted by one more.
			shift := i / 4
			a, b, c, d := &v[i%4], &v[4+(i+shift)%4], &v[8+(i+2*shift)%4], &v[12+(i+3*shift)%4]
			*a += *b + m[order[2*i]]
			*d = bits.RotateLeft64(*d^*a, -32)
			*c += *d
			*b = bits.RotateLeft64(*b^*c, -24)
			*a += *b + m[order[2*i+1]]
			*d = bits.RotateLeft64(*d^*a, -16)
			*c += *d
			*b = bits.RotateLeft64(*b^*c, -63)
		}
	}
	for i := range h.state {
		h.state[i] ^= v[i] ^ v[i+8]
	}
}
