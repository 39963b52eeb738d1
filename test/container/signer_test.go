package container

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
)

// signer signs files as minisign does (https://jedisct1.github.io/minisign/), by its older algorithm, which needs no
// BLAKE2b.
type signer struct {
	id  [8]byte
	key ed25519.PrivateKey
}

func newSigner(n byte) signer {
	return signer{id: [8]byte{n}, key: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))}
}

func (s signer) encode(b []byte) string {
	return base64.StdEncoding.EncodeToString(append(append([]byte("Ed"), s.id[:]...), b...))
}

func (s signer) public() string {
	return s.encode(s.key[ed25519.PrivateKeySize-ed25519.PublicKeySize:])
}

func (s signer) sign(file []byte) string {
	const comment = "of the tests"
	signature := ed25519.Sign(s.key, file)
	global := ed25519.Sign(s.key, append(bytes.Clone(signature), comment...))
	return fmt.Sprintf("untrusted comment: none\n%s\ntrusted comment: %s\n%s\n",
		s.encode(signature), comment, base64.StdEncoding.EncodeToString(global))
}
