package system

import (
	"fmt"

	"github.com/rollcall-go/rollcall/protocol"
)

// AppendPresences appends a presence list with the first users of all, as many as [MaxList] and [MaxListBytes] allow, and returns the
// others as rest. Times are cut to whole milliseconds. [protocol.ParsePresences] reads it.
//
// It returns dst as it was and an error if one of them has no user ID or no state. It is safe for concurrent use.
func AppendPresences(dst []byte, all []protocol.Presence) (out []byte, rest []protocol.Presence, err error) {
	return appendList(dst, all, func(dst []byte, p *protocol.Presence) ([]byte, error) {
		if p.State > protocol.PresenceStealth {
			return nil, fmt.Errorf("rollcall: a presence list with %v", p.State)
		}
		dst, err := appendID(dst, p.UserID)
		return appendTime(appendTime(append(dst, byte(p.State)), p.LastOnline), p.LastSeen), err
	})
}
