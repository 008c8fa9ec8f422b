package seam

import (
	"crypto/sha256"
	"encoding/binary"
)

// LoginDigest returns the digest of a user's secret, a token or a session's ID. The same secret of another user has another digest.
func LoginDigest(userID, secret string) [16]byte {
	var room [512]byte // enough for most secrets, so that nothing is allocated
	b := binary.AppendUvarint(room[:0], uint64(len(userID)))
	b = append(b, userID...)
	b = append(b, secret...)
	sum := sha256.Sum256(b)
	return [16]byte(sum[:])
}

// LoginsOf returns what a kick by users, a *usermgr.Manager, would revoke now, with options, a *usermgr.KickOptions: the digests of the tokens
// and IDs of the user's sessions that it selects, also of those that are ending already; and where it selects the whole user, of those that
// have ended recently. A session that is not empty is the ID of the only session that may be selected. Package usermgr sets it.
var LoginsOf = func(users any, userID, session string, options any) (digests [][16]byte) { return nil }
