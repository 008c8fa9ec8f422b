package system

import (
	"encoding/binary"
	"errors"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/internal/bodies"
	"github.com/rollcall-go/rollcall/protocol"
)

// AppendPush appends the body of a [protocol.TypePush]: the 16 bytes of the ID, u8 kind, u8 flags (1: to be confirmed), i64 time in
// Unix milliseconds (0 for the zero Time), u8 length of the name, the name, the metadata as a string map, and the content
// to the end. Equal messages give equal bytes. p.Time is cut to whole milliseconds.
//
// It returns dst as it was and an error if p has no ID or no kind, a name that its kind may not have (see [protocol.PushMessage]),
// metadata that no string map can hold, or is a protocol.PushText whose content is not UTF-8. The connection, not AppendPush, limits the
// size of the body. It is safe for concurrent use.
func AppendPush(dst []byte, p *protocol.PushMessage) ([]byte, error) {
	if text := bodies.PushFault(p.ID, p.Kind, p.Name, p.Content); text != "" {
		return dst, errors.New("rollcall: " + text)
	}
	out := append(dst, p.ID[:]...)
	var flags byte
	if p.Confirm {
		flags |= bodies.PushConfirm
	}
	out = append(out, byte(p.Kind), flags)
	var ms int64
	if !p.Time.IsZero() {
		ms = p.Time.UnixMilli()
	}
	out = binary.BigEndian.AppendUint64(out, uint64(ms))
	out = append(out, byte(len(p.Name)))
	out = append(out, p.Name...)
	out, err := bodies.AppendMap(out, p.Metadata)
	if err != nil {
		return dst, err
	}
	return append(out, p.Content...), nil
}

// CheckPush returns the error that [AppendPush] would return, and encodes nothing. It is safe for concurrent use.
func CheckPush(p *protocol.PushMessage) error {
	if text := bodies.PushFault(p.ID, p.Kind, p.Name, p.Content); text != "" {
		return errors.New("rollcall: " + text)
	}
	if err := bodies.CheckCount(p.Metadata); err != nil {
		return err
	}
	for k, v := range p.Metadata {
		if err := bodies.CheckPair(k, v); err != nil {
			return err
		}
	}
	return nil
}

// AppendPushAck appends the body of a [protocol.TypePushAck]: the 16 bytes of the push's ID. It is safe for concurrent use.
func AppendPushAck(dst []byte, id uuid.UUID) []byte { return append(dst, id[:]...) }

// ParsePushAck reads the body of a [protocol.TypePushAck], and returns the ID of the push that is acknowledged, which any 16 bytes are.
//
// The error is a *protocol.CloseError with InvalidMessage: body has another length. It is safe for concurrent use.
func ParsePushAck(body []byte) (uuid.UUID, error) {
	if len(body) != len(uuid.UUID{}) {
		return uuid.Nil, invalid("a push's acknowledgement of %d bytes, not of %d", len(body), len(uuid.UUID{}))
	}
	return uuid.UUID(body), nil
}
