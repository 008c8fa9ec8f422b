package usermgr

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// String returns the session in words, for people, without its ID and its token: a short digest of the ID tells sessions
// apart.
func (i SessionInfo) String() string {
	via := ""
	if i.Remote.IsValid() && i.Via != "" { // otherwise Address says it
		via = " by " + i.Via
	}
	return fmt.Sprintf("session %s of %q on device %d from %s%s since %s", i.mark(), i.UserID, i.Device, i.Address, via,
		i.LogonTime.Format(time.RFC3339))
}

// GoString keeps the secrets out of %#v too.
func (i SessionInfo) GoString() string { return "usermgr.SessionInfo{" + i.String() + "}" }

// mark returns eight hex digits that tell a session from others in a log. The ID cannot be found from them.
func (i SessionInfo) mark() string {
	sum := sha256.Sum256([]byte(i.ID))
	return hex.EncodeToString(sum[:4])
}
