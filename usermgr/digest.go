package usermgr

import (
	"crypto/sha256"
	"encoding/binary"
)

// digest is kept instead of a user's secret, a token or a session's ID, after the session has ended. The secret itself
// is not kept.
type digest [16]byte

// digestOf returns the digest of a user's secret. The same secret of another user has another digest.
func digestOf(userID, secret string) digest {
	var room [512]byte // enough for most secrets, so that nothing is allocated
	b := binary.AppendUvarint(room[:0], uint64(len(userID)))
	b = append(b, userID...)
	b = append(b, secret...)
	sum := sha256.Sum256(b)
	return digest(sum[:])
}
