package udpwire

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
)

// Sizes of sealed datagrams in bytes. After the kind, the session's ID and a counter of 8 bytes a sealed datagram has, encrypted with
// AES-128-GCM, the kind of what it holds, that content, and the tag. The nonce is 4 zeros and the counter; the 17 bytes in clear are
// authenticated too.
const (
	SealedHeader = 1 + 8 + 8
	// SealedMore is how many bytes a sealed datagram has besides its content.
	SealedMore = SealedHeader + 1 + tagSize
	// MaxSealedFrame is the size of the largest frame in a sealed datagram.
	MaxSealedFrame = MaxDatagram - SealedMore
	// SealedHelloSize is the size of the content of a sealed Hello, which is as long as its answer, a Challenge of 8 bytes.
	SealedHelloSize = 8
	// SecretSize is the size of the secret that the logon's answer has.
	SecretSize = 32

	tagSize       = 16
	sealedKeySize = 16
)

// Counter returns the counter of a sealed datagram, which has SealedMore bytes or more.
func Counter(b []byte) uint64 { return binary.BigEndian.Uint64(b[9:]) }

// Key seals the datagrams of one direction.
type Key [sealedKeySize]byte

// Keys returns the keys of a secret: with HKDF-SHA-256, without a salt.
func Keys(secret [SecretSize]byte) (ofClient, ofServer Key) {
	for direction, key := range map[string]*Key{"rollcall udp client": &ofClient, "rollcall udp server": &ofServer} {
		b, err := hkdf.Key(sha256.New, secret[:], nil, direction, sealedKeySize)
		if err != nil { // only for a key that is far longer
			panic("rollcall: HKDF: " + err.Error())
		}
		copy(key[:], b)
	}
	return ofClient, ofServer
}

// Cipher seals datagrams of one direction, or opens them. It is for one goroutine at a time. It takes over a kilobyte, a Key 16 bytes.
type Cipher struct {
	aead  cipher.AEAD
	nonce [12]byte
}

// NewCipher returns the Cipher of a key.
func NewCipher(key Key) *Cipher {
	block, err := aes.NewCipher(key[:])
	if err == nil {
		var aead cipher.AEAD
		if aead, err = cipher.NewGCM(block); err == nil {
			return &Cipher{aead: aead}
		}
	}
	panic("rollcall: AES-GCM: " + err.Error()) // no key of 16 bytes has an error
}

// AppendSealed appends a sealed datagram. No counter may be used twice with a key.
func (c *Cipher) AppendSealed(dst []byte, id, counter uint64, kind byte, content []byte) []byte {
	at := len(dst)
	dst = binary.BigEndian.AppendUint64(begin(dst, Sealed, id), counter)
	text := len(dst)
	dst = append(append(dst, kind), content...)
	binary.BigEndian.PutUint64(c.nonce[4:], counter)
	return c.aead.Seal(dst[:text], c.nonce[:], dst[text:], dst[at:text])
}

// Open decrypts a sealed datagram, in its own memory. It reports false for one that was not made with the key; its bytes are then useless.
func (c *Cipher) Open(b []byte) (kind byte, content []byte, ok bool) {
	copy(c.nonce[4:], b[9:SealedHeader])
	text, err := c.aead.Open(b[SealedHeader:SealedHeader], c.nonce[:], b[SealedHeader:], b[:SealedHeader])
	if err != nil {
		return 0, nil, false
	}
	return text[0], text[1:], true
}
