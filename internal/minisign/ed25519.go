package minisign

import (
	"encoding/binary"
	"math/bits"

	"github.com/graceinit/graceinit/internal/digest"
)

// Ed25519, verification only (RFC 8032, 5.1): small, after the RFC's formulas, and in variable time, as nothing
// here is secret. See package digest for why it is not the standard library's; the tests compare the two.

// field is an integer modulo p = 2^255-19, in 16 limbs of 16 bits. A limb may be a few bits longer, or negative,
// between two reductions; then a product of two elements still fits, with room for 2^9 sums.
type field [16]int64

func fieldOf(n int64) *field { return (&field{n}).reduce() }

// reduce brings every limb back to 16 bits, but for a last carry; 2^256 is 38 modulo p.
func (a *field) reduce() *field {
	for range 2 {
		for i := range a {
			carry := a[i] >> 16
			a[i] -= carry << 16
			if i == 15 {
				a[0] += 38 * carry
			} else {
				a[i+1] += carry
			}
		}
	}
	return a
}

func add(a, b *field) *field {
	var sum field
	for i := range sum {
		sum[i] = a[i] + b[i]
	}
	return &sum
}

func sub(a, b *field) *field {
	var difference field
	for i := range difference {
		difference[i] = a[i] - b[i]
	}
	return &difference
}

func mul(a, b *field) *field {
	var long [31]int64
	for i := range a {
		for j := range b {
			long[i+j] += a[i] * b[j]
		}
	}
	var product field
	copy(product[:], long[:16])
	for i := range long[16:] {
		product[i] += 38 * long[16+i]
	}
	return product.reduce()
}

// pow returns a to the power of 2^n - c, for a small c: all bits above the lowest eight are ones.
func (a *field) pow(n, c int) *field {
	low := 256 - c
	result := fieldOf(1)
	for i := n - 1; i >= 0; i-- {
		result = mul(result, result)
		if i >= 8 || low>>i&1 == 1 {
			result = mul(result, a)
		}
	}
	return result
}

func (a *field) inverse() *field { return a.pow(255, 21) } // a^(p-2)

// bytes is the one encoding of the element, little-endian.
func (a *field) bytes() [32]byte {
	r := *a
	r.reduce().reduce()
	var words [4]uint64
	for i, limb := range r {
		words[i/4] |= uint64(limb) << (16 * (i % 4))
	}
	// Below 2^256 there can be p twice.
	for range 2 {
		if less, rest := subtract(words, prime); !less {
			words = rest
		}
	}
	return littleEndian(words)
}

func (a *field) equal(b *field) bool { return a.bytes() == b.bytes() }

// prime and order are p and the order of the base point, L.
var (
	prime = [4]uint64{0xffffffffffffffed, 0xffffffffffffffff, 0xffffffffffffffff, 0x7fffffffffffffff}
	order = [4]uint64{0x5812631a5cf5d3ed, 0x14def9dea2f79cd6, 0, 0x1000000000000000}
)

// subtract returns a-b, and whether a was less.
func subtract(a, b [4]uint64) (less bool, difference [4]uint64) {
	var borrow uint64
	for i := range a {
		difference[i], borrow = bits.Sub64(a[i], b[i], borrow)
	}
	return borrow == 1, difference
}

func littleEndian(words [4]uint64) (b [32]byte) {
	for i, word := range words {
		binary.LittleEndian.PutUint64(b[8*i:], word)
	}
	return b
}

// modOrder is a little-endian number modulo the order.
func modOrder(number []byte) (r [4]uint64) {
	for i := 8*len(number) - 1; i >= 0; i-- {
		carry := uint64(number[i/8]>>(i%8)) & 1
		for j := range r { // r = 2r + bit, which is below 2^254
			r[j], carry = r[j]<<1|carry, r[j]>>63
		}
		if less, rest := subtract(r, order); !less {
			r = rest
		}
	}
	return r
}

// point is on the curve, in extended coordinates: x = X/Z, y = Y/Z, xy = T/Z.
type point struct{ x, y, z, t *field }

// curveD is the curve's constant d.
func curveD() *field { return mul(fieldOf(-121665), fieldOf(121666).inverse()) }

// decodePoint is RFC 8032, 5.1.3.
func decodePoint(b []byte) (*point, bool) {
	y := &field{}
	for i := range y {
		y[i] = int64(binary.LittleEndian.Uint16(b[2*i:]))
	}
	sign := byte(y[15] >> 15)
	y[15] &= 0x7fff
	// x^2 = u/v; a square root of it is u v^3 (u v^7)^((p-5)/8), or that times the square root of -1.
	yy, one := mul(y, y), fieldOf(1)
	u, v := sub(yy, one), add(mul(curveD(), yy), one)
	v3 := mul(mul(v, v), v)
	x := mul(mul(u, v3), mul(u, mul(mul(v3, v3), v)).pow(252, 3))
	if !mul(v, mul(x, x)).equal(u) {
		x = mul(x, fieldOf(2).pow(253, 5)) // 2^((p-1)/4)
		if !mul(v, mul(x, x)).equal(u) {
			return nil, false // no point has that y
		}
	}
	if x.bytes()[0]&1 != sign {
		x = sub(&field{}, x).reduce()
	}
	return &point{x, y, one, mul(x, y)}, true
}

func (p *point) encode() [32]byte {
	inverse := p.z.inverse()
	b := mul(p.y, inverse).bytes()
	b[31] |= mul(p.x, inverse).bytes()[0] << 7
	return b
}

func (p *point) negative() *point {
	zero := &field{}
	return &point{sub(zero, p.x), p.y, p.z, sub(zero, p.t)}
}

// plus is the complete addition of RFC 8032, 5.1.4, for equal points as well. d2 is twice the curve's d.
func (p *point) plus(q *point, d2 *field) *point {
	a := mul(sub(p.y, p.x), sub(q.y, q.x))
	b := mul(add(p.y, p.x), add(q.y, q.x))
	c := mul(mul(p.t, d2), q.t)
	d := mul(add(p.z, p.z), q.z)
	e, f, g, h := sub(b, a), sub(d, c), add(d, c), add(b, a)
	return &point{mul(e, f), mul(g, h), mul(f, g), mul(e, h)}
}

// basePoint has y = 4/5 and the even x.
var basePoint = [32]byte{0: 0x58, 31: 0x66}

// verifyEd25519 is RFC 8032, 5.1.7: whether S·B - k·A is R. It takes and refuses what crypto/ed25519 does.
func verifyEd25519(key, message, signature []byte) bool {
	if len(key) != 32 || len(signature) != 64 {
		return false
	}
	a, ok := decodePoint(key)
	if !ok {
		return false
	}
	var s [4]uint64
	for i := range s {
		s[i] = binary.LittleEndian.Uint64(signature[32+8*i:])
	}
	if less, _ := subtract(s, order); !less {
		return false // the same signature could be written in another way
	}
	h := digest.NewSHA512()
	_, _ = h.Write(signature[:32])
	_, _ = h.Write(key)
	_, _ = h.Write(message)
	k := modOrder(h.Sum())

	encoded := basePoint
	for i := 1; i < 31; i++ {
		encoded[i] = 0x66
	}
	b, _ := decodePoint(encoded[:])
	a = a.negative()
	d2 := add(curveD(), curveD()).reduce()
	both := a.plus(b, d2)
	r := &point{fieldOf(0), fieldOf(1), fieldOf(1), fieldOf(0)}
	for i := 255; i >= 0; i-- {
		r = r.plus(r, d2)
		switch {
		case bit(s, i) && bit(k, i):
			r = r.plus(both, d2)
		case bit(s, i):
			r = r.plus(b, d2)
		case bit(k, i):
			r = r.plus(a, d2)
		}
	}
	return r.encode() == [32]byte(signature[:32])
}

func bit(words [4]uint64, i int) bool { return words[i/64]>>(i%64)&1 == 1 }
