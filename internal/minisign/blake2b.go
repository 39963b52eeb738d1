package minisign

import (
	"encoding/binary"
	"math/bits"
)

// Digest is BLAKE2b with 64 bytes of digest and without a key (RFC 7693): what a prehashed signature is of. The
// standard library has none.
type Digest struct {
	state  [8]uint64
	block  [128]byte
	filled int    // bytes of block that are in use
	length uint64 // bytes written so far
}

// initial are the first 64 bits of the fractional parts of the square roots of the first eight primes (RFC 7693, 2.6).
var initial = [8]uint64{
	0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
	0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
}

// NewDigest begins a digest.
func NewDigest() *Digest {
	d := &Digest{state: initial}
	d.state[0] ^= 0x01010000 ^ 64 // RFC 7693, 2.5: fanout and depth 1, no key, 64 bytes of digest
	return d
}

// Write never fails.
func (d *Digest) Write(p []byte) (int, error) {
	written := len(p)
	for len(p) > 0 {
		// A full block waits for what follows: the last one is compressed differently.
		if d.filled == len(d.block) {
			d.compress(false)
			d.filled = 0
		}
		n := copy(d.block[d.filled:], p)
		d.filled += n
		d.length += uint64(n)
		p = p[n:]
	}
	return written, nil
}

// Sum ends the digest and returns it. Nothing may be written afterwards.
func (d *Digest) Sum() []byte {
	clear(d.block[d.filled:])
	d.compress(true)
	var sum []byte
	for _, word := range d.state {
		sum = binary.LittleEndian.AppendUint64(sum, word)
	}
	return sum
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

// compress is the function F of RFC 7693, 3.2.
func (d *Digest) compress(last bool) {
	var m, v [16]uint64
	for i := range m {
		m[i] = binary.LittleEndian.Uint64(d.block[8*i:])
	}
	copy(v[:8], d.state[:])
	copy(v[8:], initial[:])
	v[12] ^= d.length
	if last {
		v[14] = ^v[14]
	}
	for round := range uint(12) {
		order := &sigma[round%10]
		for i := range uint(8) {
			// Four columns, then four diagonals: in the second half each row is shifted by one more.
			shift := i / 4
			a, b, c, e := &v[i%4], &v[4+(i+shift)%4], &v[8+(i+2*shift)%4], &v[12+(i+3*shift)%4]
			*a += *b + m[order[2*i]]
			*e = bits.RotateLeft64(*e^*a, -32)
			*c += *e
			*b = bits.RotateLeft64(*b^*c, -24)
			*a += *b + m[order[2*i+1]]
			*e = bits.RotateLeft64(*e^*a, -16)
			*c += *e
			*b = bits.RotateLeft64(*b^*c, -63)
		}
	}
	for i := range d.state {
		d.state[i] ^= v[i] ^ v[i+8]
	}
}
