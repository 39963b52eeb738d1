package digest

import (
	"encoding/binary"
	"math/bits"
)

// NewBLAKE2b512 is BLAKE2b with 64 bytes of digest and without a key (RFC 7693).
func NewBLAKE2b512() *Hash {
	h := &Hash{state: initial, blockSize: 128, compress: compressBLAKE2b, encode: binary.LittleEndian.AppendUint64}
	h.state[0] ^= 0x01010000 ^ 64 // RFC 7693, 2.5: fanout and depth 1, no key, 64 bytes of digest
	return h
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

// compressBLAKE2b is the function F of RFC 7693, 3.2.
func compressBLAKE2b(h *Hash, last bool) {
	var m, v [16]uint64
	for i := range m {
		m[i] = binary.LittleEndian.Uint64(h.block[8*i:])
	}
	copy(v[:8], h.state[:])
	copy(v[8:], initial[:])
	v[12] ^= h.length
	if last {
		v[14] = ^v[14]
	}
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
