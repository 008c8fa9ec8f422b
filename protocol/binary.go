package protocol

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/rollcall-go/rollcall/internal/bodies"
	"github.com/rollcall-go/rollcall/internal/layout"
)

const (
	headerLen = layout.HeaderLen

	knownFlags = FlagReply | FlagError
)

// binaryCodec is the type of Binary. Binary is not a [Codec] variable, so that calls of its methods are direct and
// their messages need not be on the heap. Binary is a pointer, because the comparison of a Codec with a pointer needs
// no call.
type binaryCodec struct{}

// Binary is Rollcall's own wire format: a 16-byte header, the two user IDs and the body; see docs/protocol.md. Any
// number of goroutines may use it.
//
// Decode refuses a frame with InvalidMessage or MessageTooLarge as soon as its bytes show the mistake: a wrong magic
// with the first byte, a length over a limit with the header. It allocates only user IDs that m does not hold already;
// it does not check an ID that m holds. m.Body is a part of src with its capacity cut off, so that an append to it does
// not write into the next frame. When Decode returns no message, m does not change. Decode accepts every message type
// but 0, and reserved user IDs: the codec does not decide who may use them.
//
// Append refuses what Decode would: type 0, unknown flags, FlagError without FlagReply, a user ID that is longer than
// [MaxUserID], is not UTF-8 or has control characters, and more than 4 GiB in all.
var Binary = new(binaryCodec)

var _ Codec = Binary

// Decode implements [Codec].
func (binaryCodec) Decode(src []byte, m *Message, o DecodeOptions) (n, need int, err error) {
	if len(src) < headerLen {
		if err := headerError(src, o); err != nil {
			return 0, 0, err
		}
		return 0, headerLen, nil
	}
	var (
		h      = layout.ReadHeader(src)
		flags  = Flags(h.Flags())
		typ    = h.Type()
		length = int64(h.Length())
		user   = int64(h.User())
		dest   = int64(h.Dest())
		body   = length - user - dest
	)
	if !h.IsOurs(uint8(knownFlags)) || flags == FlagError || typ == 0 || body < 0 ||
		o.MaxBody > 0 && body > int64(o.MaxBody) ||
		o.MaxFrame > 0 && headerLen+length > int64(o.MaxFrame) ||
		headerLen+length > math.MaxInt {
		return 0, 0, headerError(src[:headerLen], o)
	}
	total := headerLen + int(length)
	if len(src) < total {
		if err := arrivedIDError(src[headerLen:], int(user), int(dest)); err != nil {
			return 0, 0, err
		}
		return 0, total, nil
	}

	if user|dest == 0 { // true for nearly every message of a client
		m.UserID, m.DestUserID = "", ""
	} else if err := decodeIDs(src[headerLen:headerLen+user+dest], int(user), m); err != nil {
		return 0, 0, err
	}
	m.Type = typ
	m.Flags = flags
	m.ID = h.ID()
	m.Device = h.Device()
	m.Body = src[headerLen+user+dest : total : total]
	return total, 0, nil
}

// decodeIDs decodes the user IDs; the first one has user bytes. It compares them with those of m without allocating,
// because a connection's frames carry the same IDs again and again.
func decodeIDs(ids []byte, user int, m *Message) error {
	sameUser := string(ids[:user]) == m.UserID
	sameDest := string(ids[user:]) == m.DestUserID
	if !sameUser && !validID(ids[:user]) {
		return idError("UserID", ids[:user])
	}
	if !sameDest && !validID(ids[user:]) {
		return idError("DestUserID", ids[user:])
	}
	if !sameUser {
		m.UserID = string(ids[:user])
	}
	if !sameDest {
		m.DestUserID = string(ids[user:])
	}
	return nil
}

// headerError returns why a frame that begins with b, at most a header, is refused; nil if b shows no mistake. It
// checks the bytes in the order in which they come, so that the code does not depend on how the frame was split.
func headerError(b []byte, o DecodeOptions) error {
	var whole [headerLen]byte // zeros for the bytes to come
	copy(whole[:], b)
	h := layout.ReadHeader(whole[:])
	if len(b) > 0 && b[0] != layout.Magic {
		return invalid("the frame begins with 0x%02x, not with the magic 0x%02x", b[0], layout.Magic)
	}
	if len(b) > layout.AtVersion {
		if v := b[layout.AtVersion] >> 4; v != layout.Version {
			return invalid("protocol version %d, want %d", v, layout.Version)
		}
		if err := flagsError(Flags(h.Flags())); err != nil {
			return invalid("%v", err)
		}
	}
	if len(b) >= layout.AtLength && h.Type() == 0 {
		return invalid("message type 0")
	}

	if len(b) <= layout.AtLength {
		return nil
	}
	// The bytes still to come can only make the length larger. They can make the body smaller by two IDs at most.
	least := int64(h.Length())
	user, dest := int64(MaxUserID), int64(MaxUserID)
	if len(b) > layout.AtUser {
		user = int64(h.User())
	}
	if len(b) > layout.AtDest {
		dest = int64(h.Dest())
	}
	if o.MaxFrame > 0 && headerLen+least > int64(o.MaxFrame) {
		return tooLarge("a frame of %d bytes or more, the limit is %d", headerLen+least, o.MaxFrame)
	}
	if headerLen+least > math.MaxInt {
		return tooLarge("a frame of %d bytes or more", headerLen+least)
	}
	if o.MaxBody > 0 && least-user-dest > int64(o.MaxBody) {
		return tooLarge("a body of %d bytes or more, the limit is %d", least-user-dest, o.MaxBody)
	}
	if len(b) > layout.AtUser && user > least || len(b) > layout.AtDest && user+dest > least {
		return invalid("the user IDs are longer than the length %d", least)
	}
	return nil
}

// arrivedIDError returns why the IDs are refused, as far as they have come; b has the bytes after the header.
func arrivedIDError(b []byte, user, dest int) error {
	if u := b[:min(len(b), user)]; !validIDStart(u, len(u) == user) {
		return idError("UserID", u)
	}
	b = b[min(len(b), user):]
	if d := b[:min(len(b), dest)]; !validIDStart(d, len(d) == dest) {
		return idError("DestUserID", d)
	}
	return nil
}

// Append implements [Codec].
func (binaryCodec) Append(dst []byte, m *Message) ([]byte, error) {
	length, ok := frameLength(len(m.UserID), len(m.DestUserID), len(m.Body))
	if !ok || m.Type == 0 || m.Flags > knownFlags || m.Flags == FlagError {
		return dst, messageError(m)
	}
	start, user := len(dst), headerLen+len(m.UserID)
	out := slices.Grow(dst, headerLen+int(length))[:start+headerLen+int(length)]
	f := out[start:]
	layout.NewHeader(m.Type, uint8(m.Flags), length, m.ID, uint8(len(m.UserID)), uint8(len(m.DestUserID)), m.Device).Put(f)
	copy(f[headerLen:], m.UserID)
	copy(f[user:], m.DestUserID)
	copy(f[user+len(m.DestUserID):], m.Body)
	if !printable(f[headerLen : user+len(m.DestUserID)]) {
		if err := messageError(m); err != nil {
			return dst, err
		}
	}
	return out, nil
}

// frameLength returns a header's length field for parts of these lengths, and whether they can be encoded.
func frameLength(user, dest, body int) (uint32, bool) {
	n := uint64(user) + uint64(dest) + uint64(body)
	return uint32(n), user <= MaxUserID && dest <= MaxUserID && n <= math.MaxUint32 && n <= math.MaxInt-headerLen
}

// messageError returns why no codec of this package encodes m; nil if m can be encoded.
func messageError(m *Message) error {
	if m.Type == 0 {
		return errors.New("rollcall: message type 0 cannot be encoded")
	}
	if err := flagsError(m.Flags); err != nil {
		return fmt.Errorf("rollcall: %w", err)
	}
	for _, id := range []string{m.UserID, m.DestUserID} {
		if id == "" {
			continue
		}
		if text := bodies.IDFault(id); text != "" {
			return fmt.Errorf("rollcall: user ID %.64q %s", id, text)
		}
	}
	if _, ok := frameLength(len(m.UserID), len(m.DestUserID), len(m.Body)); !ok {
		return fmt.Errorf("rollcall: a body of %d bytes is too large for a frame", len(m.Body))
	}
	return nil
}

func flagsError(f Flags) error {
	if f&^knownFlags != 0 {
		return fmt.Errorf("unknown flags in 0x%x", uint8(f))
	}
	if f == FlagError {
		return errors.New("the error flag without the reply flag")
	}
	return nil
}

func invalid(format string, a ...any) error {
	return &CloseError{Code: InvalidMessage, Text: fmt.Sprintf(format, a...)}
}

func tooLarge(format string, a ...any) error {
	return &CloseError{Code: MessageTooLarge, Text: fmt.Sprintf(format, a...)}
}
