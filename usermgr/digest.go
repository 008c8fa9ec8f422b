package usermgr

import (
	"crypto/sha256"
	"encoding/binary"
)

// digest stands for a secret of a user's, a token or a session's ID, when the session that showed it has ended: the text
// itself is not kept.
type digest [16]byte

// digestOf returns the digest of a user's secret. The same secret of another user has another one.
func digestOf(userID, secret string) digest {
	var room [512]byte // enough for what most users show, so that nothing is allocated
	b := binary.AppendUvarint(room[:0], uint64(len(userID)))
	b = append(b, userID...)
	b = append(b, secret...)
	sum := sha256.Sum256(b)
	return digest(sum[:])
}
