// Package storm is a client that logs on under one user ID again and again, to push others out.
package storm

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

// patience is how long a server may take for anything.
const patience = 10 * time.Second

// Outcome is what happened to a client.
type Outcome struct {
	PushedOut int            // sessions that ended as they should
	Broken    map[string]int // what else happened, and how often
}

// Client logs on as a user, waits to be pushed out by another, and logs on again, until the end.
func Client(addr, userID string, end time.Time) Outcome {
	o := Outcome{Broken: make(map[string]int)}
	for time.Now().Before(end) {
		switch pushedOut, err := once(addr, userID, end); {
		case err != nil:
			o.Broken[err.Error()]++
		case pushedOut:
			o.PushedOut++
		}
	}
	return o
}

// once is one session. It reports whether it was pushed out; when the end comes first it leaves.
func once(addr, userID string, end time.Time) (pushedOut bool, err error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return false, err
	}
	defer func() { _ = nc.Close() }()
	logon, err := protocol.Binary.Append(nil, &protocol.Message{Type: protocol.TypeLogon, ID: 1, UserID: userID, Body: []byte{0}})
	if err != nil {
		return false, err
	}
	if _, err := nc.Write(logon); err != nil {
		return false, err
	}
	in := reader{nc: nc}

	_ = nc.SetReadDeadline(time.Now().Add(patience))
	m, err := in.next()
	if err != nil {
		return false, fmt.Errorf("waiting for the answer to a logon: %w", err)
	}
	if m.Type != protocol.TypeLogon || m.Flags != protocol.FlagReply {
		return false, fmt.Errorf("instead of the answer to a logon came %s", describe(m))
	}

	_ = nc.SetReadDeadline(end)
	m, err = in.next()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return false, nil // no other client came
	}
	if err != nil {
		return false, fmt.Errorf("waiting to be pushed out: %w", err)
	}
	if why, err := protocol.ParseClose(m.Body); m.Type != protocol.TypeClose || err != nil || why.Code != protocol.PushedOut {
		return false, fmt.Errorf("instead of being pushed out came %s", describe(m))
	}

	_ = nc.SetReadDeadline(time.Now().Add(patience))
	if _, err := in.next(); !errors.Is(err, io.EOF) {
		return true, fmt.Errorf("the connection did not end after the notice: %v", err)
	}
	return true, nil
}

func describe(m *protocol.Message) string {
	if why, err := protocol.ParseClose(m.Body); m.Type == protocol.TypeClose && err == nil {
		return "a notice: " + why.Error()
	}
	return fmt.Sprintf("a message of type %#x, with flags %d", m.Type, m.Flags)
}

// reader reads messages.
type reader struct {
	nc  net.Conn
	buf []byte
}

func (r *reader) next() (*protocol.Message, error) {
	b := make([]byte, 1024)
	for {
		var m protocol.Message
		n, _, err := protocol.Binary.Decode(r.buf, &m, protocol.DecodeOptions{})
		if err != nil {
			return nil, err
		}
		if n > 0 {
			r.buf = r.buf[n:]
			return &m, nil
		}
		n, err = r.nc.Read(b)
		if err != nil {
			if err == io.EOF && len(r.buf) > 0 {
				return nil, io.ErrUnexpectedEOF
			}
			return nil, err
		}
		r.buf = append(r.buf, b[:n]...)
	}
}
