package main

import (
	"encoding/binary"

	"github.com/rollcall-go/rollcall/protocol"
)

// meter is the wire format of one meter's connection, as many devices have one: each frame, both ways, has a serial number and the
// device's ID. One is made for each connection (engine.Listener.NewCodec), so that it can keep them; its methods are never
// called two at a time, and Append in the order in which frames go out.
//
//	u16 length of what follows | u16 serial number, from 1 | u8 length of the ID | ID | u16 type | body
type meter struct {
	received, sent uint16 // serial numbers of the last frames
}

// Decode finds one frame at the start of src. The first one, whatever it says, logs the device on.
func (c *meter) Decode(src []byte, m *protocol.Message, o protocol.DecodeOptions) (n, need int, err error) {
	if len(src) < 2 {
		return 0, 2, nil
	}
	n = 2 + int(binary.BigEndian.Uint16(src))
	if o.MaxFrame > 0 && n > o.MaxFrame {
		return 0, 0, protocol.Errorf(protocol.MessageTooLarge, "a first frame of %d bytes", n)
	}
	if len(src) < n {
		return 0, n, nil
	}
	f := src[2:n]
	if len(f) < 3 || len(f) < 3+int(f[2])+2 {
		return 0, 0, protocol.Errorf(protocol.InvalidMessage, "a frame of %d bytes is too short", n)
	}
	serial, id, f := binary.BigEndian.Uint16(f), string(f[3:3+f[2]]), f[3+f[2]:]
	if serial != c.received+1 {
		return 0, 0, protocol.Errorf(protocol.InvalidMessage, "frame %d after %d", serial, c.received)
	}
	c.received = serial
	if o.First {
		*m = protocol.Message{Type: protocol.TypeLogon, ID: 1, UserID: id}
		return n, 0, nil
	}
	if id != m.UserID { // who is bound
		return 0, 0, protocol.Errorf(protocol.WrongUserID, "a frame of %s", id)
	}
	*m = protocol.Message{Type: binary.BigEndian.Uint16(f), UserID: id, Body: f[2:]}
	return n, 0, nil
}

// Append writes one frame. The engine has put the device into DestUserID, in replies and broadcasts too; a device that is not
// bound yet has none.
func (c *meter) Append(dst []byte, m *protocol.Message) ([]byte, error) {
	size := 2 + 1 + len(m.DestUserID) + 2 + len(m.Body)
	if size > 0xFFFF {
		return dst, protocol.Errorf(protocol.MessageTooLarge, "a frame of %d bytes", size)
	}
	c.sent++
	dst = binary.BigEndian.AppendUint16(dst, uint16(size))
	dst = binary.BigEndian.AppendUint16(dst, c.sent)
	dst = append(append(dst, byte(len(m.DestUserID))), m.DestUserID...)
	dst = binary.BigEndian.AppendUint16(dst, m.Type)
	return append(dst, m.Body...), nil
}
