// Package wiretest has the common code of the tests' own clients.
package wiretest

import (
	"io"

	"github.com/rollcall-go/rollcall/protocol"
)

// Reader takes messages out of what a connection brings. The zero value reads protocol.Binary.
type Reader struct {
	Codec protocol.Codec
	in    []byte
}

// Next returns the next message, which is the caller's, and calls read for what is missing. The error is read's, where it
// brought nothing: io.EOF between two messages, io.ErrUnexpectedEOF within one; or the codec's.
func (r *Reader) Next(read func([]byte) (int, error)) (*protocol.Message, error) {
	codec := r.Codec
	if codec == nil {
		codec = protocol.Binary
	}
	for {
		m := new(protocol.Message)
		n, _, err := codec.Decode(r.in, m, protocol.DecodeOptions{})
		if err != nil {
			return nil, err
		}
		if n > 0 {
			m = m.Clone()
			r.in = r.in[n:]
			return m, nil
		}
		chunk := make([]byte, 16<<10)
		got, err := read(chunk)
		r.in = append(r.in, chunk[:got]...)
		if err == io.EOF && got == 0 && len(r.in) > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && got == 0 {
			return nil, err
		}
	}
}

// Each calls f for each message of protocol.Binary that read brings, until one of the two returns an error. The message is valid until f returns. It
// is for many clients, which are to take little time. It reads into buf, as long as that is large enough.
func Each(buf []byte, read func([]byte) (int, error), f func(*protocol.Message) error) error {
	have := 0
	for {
		got, err := read(buf[have:])
		if err != nil {
			return err
		}
		rest := buf[:have+got]
		for {
			var m protocol.Message
			n, _, err := protocol.Binary.Decode(rest, &m, protocol.DecodeOptions{})
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			rest = rest[n:]
			if err := f(&m); err != nil {
				return err
			}
		}
		if have = copy(buf, rest); have == len(buf) {
			buf = append(buf, make([]byte, len(buf))...)
		}
	}
}

// Add puts bytes that were read otherwise behind those that are there.
func (r *Reader) Add(b []byte) { r.in = append(r.in, b...) }

// Have returns the next message if it has come already; otherwise nil.
func (r *Reader) Have() (*protocol.Message, error) {
	m, err := r.Next(func([]byte) (int, error) { return 0, io.EOF })
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil, nil
	}
	return m, err
}

// Read implements io.Reader on the bytes that are there, which are no message's then.
func (r *Reader) Read(b []byte) (int, error) {
	if len(r.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b, r.in)
	r.in = r.in[n:]
	return n, nil
}

// Logon returns a Logon with the ID 1. Its fields are key, value, key, value.
func Logon(userID string, fields ...string) *protocol.Message {
	body, err := protocol.AppendStringMap(nil, stringMap(fields))
	if err != nil {
		panic(err)
	}
	return &protocol.Message{Type: protocol.TypeLogon, ID: 1, UserID: userID, Body: body}
}

// Request returns a message with an operation. Its fields are key, value, key, value.
func Request(typ uint16, id uint32, op uint8, content []byte, fields ...string) *protocol.Message {
	body, err := protocol.AppendOperation(nil, &protocol.Operation{Op: op, Fields: stringMap(fields), Content: content})
	if err != nil {
		panic(err)
	}
	return &protocol.Message{Type: typ, ID: id, Body: body}
}

func stringMap(fields []string) map[string]string {
	m := make(map[string]string)
	for i := 0; i < len(fields); i += 2 {
		m[fields[i]] = fields[i+1]
	}
	return m
}
