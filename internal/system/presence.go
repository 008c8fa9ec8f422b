package system

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/rollcall-go/rollcall/internal/bodies"
	"github.com/rollcall-go/rollcall/protocol"
)

const (
	// MaxPresences is the largest number of users in a presence list that a server sends.
	MaxPresences = 1000
	// MaxPresenceList is how many bytes such a list has at most.
	MaxPresenceList = 256 << 10
)

// AppendPresences appends a presence list with the first users of all, as many as [MaxPresences] and [MaxPresenceList] allow, and returns the
// others as rest. Times are cut to whole milliseconds. [protocol.ParsePresences] reads it.
//
// It returns dst as it was and an error if one of them has no user ID or no state. It is safe for concurrent use.
func AppendPresences(dst []byte, all []protocol.Presence) (out []byte, rest []protocol.Presence, err error) {
	out = append(dst, 0, 0)
	count := 0
	for ; count < min(len(all), MaxPresences); count++ {
		p := &all[count]
		if text := bodies.IDFault(p.UserID); text != "" {
			return dst, all, fmt.Errorf("rollcall: the user ID %.64q of a presence list %s", p.UserID, text)
		}
		if p.State > protocol.PresenceStealth {
			return dst, all, fmt.Errorf("rollcall: a presence list with %v", p.State)
		}
		if len(out)-len(dst)+1+len(p.UserID)+bodies.PresenceTail > MaxPresenceList {
			break
		}
		out = append(out, byte(len(p.UserID)))
		out = append(out, p.UserID...)
		out = append(out, byte(p.State))
		out = binary.BigEndian.AppendUint64(out, uint64(milliseconds(p.LastOnline)))
		out = binary.BigEndian.AppendUint64(out, uint64(milliseconds(p.LastSeen)))
	}
	binary.BigEndian.PutUint16(out[len(dst):], uint16(count))
	return out, all[count:], nil
}

// milliseconds returns a time in Unix milliseconds, 0 for the zero Time.
func milliseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
