// Package minisign verifies signatures in the format of minisign (https://jedisct1.github.io/minisign/), so that
// only a binary from the holder of a key is run.
//
// A signature covers a file and a comment, the trusted one. It says who made a binary, not that it is the newest:
// an old one with its old signature stays valid.
package minisign

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// PublicKey verifies signatures.
type PublicKey struct {
	id  keyID
	key []byte
}

// Signature is the content of a .minisig file.
type Signature struct {
	// Prehashed says that not the file was signed but its BLAKE2b-512.
	Prehashed bool
	// Comment is the trusted comment. Verify vouches for it, and nothing does before.
	Comment string

	id      keyID
	file    []byte // the signature of the file, or of its digest
	comment []byte // the signature of the one before and the comment
}

// keyID tells keys apart. It is random, and no secret.
type keyID [8]byte

// String is the form that minisign prints: a little-endian number in hexadecimal.
func (id keyID) String() string {
	var reversed keyID
	for i, b := range id {
		reversed[len(id)-1-i] = b
	}
	return fmt.Sprintf("%X", reversed[:])
}

const (
	keySize, signatureSize = 32, 64 // of Ed25519

	algorithmFile   = "Ed" // also that of a public key
	algorithmDigest = "ED"

	untrusted = "untrusted comment:"
	trusted   = "trusted comment: "
)

// ParsePublicKey reads the text of a .pub file, or its second line alone (RWQ...).
func ParsePublicKey(text string) (*PublicKey, error) {
	lines := splitLines(text)
	if len(lines) == 2 && strings.HasPrefix(lines[0], untrusted) {
		lines = lines[1:]
	}
	if len(lines) != 1 {
		return nil, errors.New("not a minisign public key: neither one line nor a comment and a line")
	}
	algorithm, id, key, err := decode(lines[0], keySize)
	if err != nil {
		return nil, fmt.Errorf("not a minisign public key: %w", err)
	}
	if algorithm != algorithmFile {
		return nil, fmt.Errorf("not a minisign public key: algorithm %q is not %q", algorithm, algorithmFile)
	}
	return &PublicKey{id: id, key: key}, nil
}

// ParseSignature reads the text of a .minisig file.
func ParseSignature(text string) (*Signature, error) {
	lines := splitLines(text)
	if len(lines) != 4 || !strings.HasPrefix(lines[0], untrusted) || !strings.HasPrefix(lines[2], trusted) {
		return nil, errors.New("not a minisign signature: it has two comments, each followed by a line of base64")
	}
	algorithm, id, file, err := decode(lines[1], signatureSize)
	if err != nil {
		return nil, fmt.Errorf("not a minisign signature: %w", err)
	}
	if algorithm != algorithmFile && algorithm != algorithmDigest {
		return nil, fmt.Errorf("not a minisign signature: algorithm %q is unknown", algorithm)
	}
	comment, err := base64.StdEncoding.Strict().DecodeString(lines[3])
	if err != nil || len(comment) != signatureSize {
		return nil, errors.New("not a minisign signature: the last line is not the signature of the trusted comment")
	}
	return &Signature{
		Prehashed: algorithm == algorithmDigest,
		Comment:   strings.TrimPrefix(lines[2], trusted),
		id:        id, file: file, comment: comment,
	}, nil
}

// Verify checks the signature of a file: signed is its digest if the signature is prehashed, else all of it.
func (k *PublicKey) Verify(s *Signature, signed []byte) error {
	switch {
	case s.id != k.id:
		return fmt.Errorf("the signature was made with key %s, not with %s", s.id, k.id)
	case !ed25519.Verify(k.key, signed, s.file):
		return errors.New("the signature is not that of this file")
	case !ed25519.Verify(k.key, append(s.file[:signatureSize:signatureSize], s.Comment...), s.comment):
		return errors.New("the trusted comment of the signature was changed")
	}
	return nil
}

// decode reads a line of base64: two letters for the algorithm, the key's id, and so many bytes.
func decode(line string, size int) (algorithm string, id keyID, rest []byte, err error) {
	b, err := base64.StdEncoding.Strict().DecodeString(line)
	if err != nil {
		return "", id, nil, fmt.Errorf("%.20q is not base64", line)
	}
	if len(b) != 2+len(id)+size {
		return "", id, nil, fmt.Errorf("%d bytes in place of %d", len(b), 2+len(id)+size)
	}
	copy(id[:], b[2:])
	return string(b[:2]), id, b[2+len(id):], nil
}

// splitLines allows for the line ends of Windows, and for empty lines at the end.
func splitLines(text string) []string {
	lines := strings.Split(strings.TrimRight(text, "\r\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimSuffix(lines[i], "\r")
	}
	return lines
}
