package mesh

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
)

// How two nodes open a link. The dialler logs on with the ID of its Mesh as the user ID. Then it sends two requests:
//
//	typeOpen   1 B version, 32 B random number of the dialler → 1 B version, 32 B random number of the listener, 32 B proof of the listener
//	typeProve  32 B proof of the dialler → nothing
//
// A proof is HMAC-SHA256, keyed with the secret, of the side, the two numbers, the dialler's ID and the listener's address. Bytes that follow
// come from later versions, and are skipped. After that the dialler sends frames:
//
//	typeFrames  for each frame: 4 B incarnation that it is for, 4 B its length, the frame
const (
	typeOpen   uint16 = 0xFE00
	typeProve  uint16 = 0xFE01
	typeFrames uint16 = 0xFE02

	version    = 1
	nonceSize  = 32
	frameHead  = 4 + 4
	openSize   = 1 + nonceSize
	openedSize = openSize + sha256.Size
)

var errProof = errors.New("rollcall: the node at the other end has another Secret, or is of another cluster")

// handshake is what a proof is made of.
type handshake struct {
	secret           []byte
	dialler          string // ID of its Mesh
	listener         string // address
	dialled, listens [nonceSize]byte
}

func newNonce() (n [nonceSize]byte) {
	_, _ = rand.Read(n[:]) // it has no error
	return n
}

// proof returns what a side sends: "dialler" or "listener".
func (h *handshake) proof(side string) []byte {
	mac := hmac.New(sha256.New, h.secret)
	for _, part := range [][]byte{[]byte(side), h.dialled[:], h.listens[:], []byte(h.dialler), []byte(h.listener)} {
		mac.Write([]byte{byte(len(part) >> 8), byte(len(part))})
		mac.Write(part)
	}
	return mac.Sum(nil)
}

// proves reports whether a side has sent its proof.
func (h *handshake) proves(side string, proof []byte) bool {
	return len(proof) >= sha256.Size && hmac.Equal(proof[:sha256.Size], h.proof(side))
}
