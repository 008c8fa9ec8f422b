package usermgr

import "github.com/rollcall-go/rollcall/internal/seam"

// digest is kept instead of a user's secret, a token or a session's ID, after the session has ended. The secret itself
// is not kept.
type digest [16]byte

// digestOf returns the digest of a user's secret. The same secret of another user has another digest.
func digestOf(userID, secret string) digest { return seam.LoginDigest(userID, secret) }
