package system

import (
	"encoding/binary"
	"fmt"

	"github.com/rollcall-go/rollcall/internal/bodies"
)

// MaxIDList is the largest number of user IDs in an ID list. Such a list has 256,002 bytes at most.
const MaxIDList = 1000

// AppendIDList appends the body of a [protocol.TypeWhoIsOnline] request, or of its reply: u16 count, then for each user ID u8 length
// and its bytes, as docs/protocol.md, Who is online, has it. The order is kept, and an ID may come twice.
//
// It returns dst as it was and an error if there are more than [MaxIDList] IDs, or one is no user ID: empty, longer than
// [protocol.MaxUserID], not UTF-8 or with control characters. Reserved IDs are well-formed. It is safe for concurrent use.
func AppendIDList(dst []byte, ids []string) ([]byte, error) {
	if len(ids) > MaxIDList {
		return dst, fmt.Errorf("rollcall: a list of %d user IDs, the limit is %d", len(ids), MaxIDList)
	}
	out := binary.BigEndian.AppendUint16(dst, uint16(len(ids)))
	for i, id := range ids {
		if text := bodies.IDFault(id); text != "" {
			return dst, fmt.Errorf("rollcall: user ID %.64q, number %d of a list, %s", id, i+1, text)
		}
		out = append(out, byte(len(id)))
		out = append(out, id...)
	}
	return out, nil
}

// ParseIDList reads what [AppendIDList] writes. The result shares no memory with body and is never nil without an error.
//
// The error is a *protocol.CloseError with InvalidMessage: body is cut off or goes on after the last ID, has more than
// [MaxIDList] IDs, or one that AppendIDList refuses. (In a request it is the request's: docs/protocol.md has it answered
// with Refused, and the connection stays.) It is safe for concurrent use.
func ParseIDList(body []byte) ([]string, error) {
	if len(body) < 2 {
		return nil, invalid("a list of user IDs of %d bytes, 2 is the least", len(body))
	}
	count, rest := int(binary.BigEndian.Uint16(body)), body[2:]
	if count > MaxIDList {
		return nil, invalid("a list of %d user IDs, the limit is %d", count, MaxIDList)
	}
	const leastID = 1 + 1
	ids := make([]string, 0, min(count, len(rest)/leastID)) // never for more IDs than the bytes can hold
	for range count {
		if len(rest) < 1 || len(rest) < 1+int(rest[0]) {
			return nil, invalid("a list of user IDs is cut off")
		}
		id := string(rest[1 : 1+int(rest[0])])
		if text := bodies.IDFault(id); text != "" {
			return nil, invalid("the user ID %.64q, number %d of a list, %s", id, len(ids)+1, text)
		}
		ids = append(ids, id)
		rest = rest[1+len(id):]
	}
	if len(rest) > 0 {
		return nil, invalid("%d bytes after a list of user IDs", len(rest))
	}
	return ids, nil
}
