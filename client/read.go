package client

import (
	"errors"
	"io"

	"github.com/rollcall-go/rollcall/internal/codes"
	"github.com/rollcall-go/rollcall/internal/layout"
	"github.com/rollcall-go/rollcall/protocol"
)

// readAll reads until the connection ends, and returns why it ended. It runs on the goroutine that reads.
func (cn *conn) readAll() error {
	var m protocol.Message
	for {
		if err := cn.frames.next(&m); err != nil {
			if cn.ws != nil && cn.ws.closed {
				cn.answerClose(err)
			} else {
				cn.complain(err)
			}
			return err
		}
		if err := cn.receive(&m); err != nil {
			return err
		}
	}
}

// complain tells the server about its mistake, if err is one, and waits until the server ends its side.
func (cn *conn) complain(err error) {
	var ce *protocol.CloseError
	if codes.As(err, &ce) && ce.Code != protocol.NetworkError {
		cn.leave(err, ce.Code, ce.Text)
		_, _ = io.Copy(io.Discard, cn.nc)
	}
}

// receive handles a message; its body belongs to the frame reader. An error ends the connection.
func (cn *conn) receive(m *protocol.Message) error {
	switch {
	case m.IsReply():
		cn.answered(m)
	case m.Type == protocol.TypeHeartbeat:
		if m.ID != 0 {
			cn.post(&protocol.Message{Type: protocol.TypeHeartbeat, Flags: protocol.FlagReply, ID: m.ID})
		}
	case m.Type == protocol.TypeClose:
		err := closeNotice(m.Body)
		cn.answerClose(err)
		return err
	case m.Type == protocol.TypePush && cn.client.cfg.OnPush != nil:
		p, err := protocol.ParsePush(m.Body)
		if err != nil {
			cn.complain(err)
			return err
		}
		return cn.deliver(item{push: p, size: frameSize(m)})
	case m.Type >= protocol.FirstSystemType && cn.client.cfg.Handle[m.Type] == nil:
		// It is from a later version of the protocol, or for an optional package that the program does not use.
	default:
		return cn.deliver(item{message: m.Clone(), size: frameSize(m)})
	}
	return nil
}

func frameSize(m *protocol.Message) int {
	return layout.HeaderLen + len(m.UserID) + len(m.DestUserID) + len(m.Body)
}

// deliver puts an item into the inbox. It may wait for the handlers.
func (cn *conn) deliver(it item) error {
	if !cn.client.inbox.full() {
		return cn.client.inbox.put(it, cn.waits, cn.dead)
	}
	cn.paused.Store(true)
	defer cn.paused.Store(false)
	return cn.client.inbox.put(it, cn.waits, cn.dead)
}

// answered gives a reply to the request that waits for it. It drops a reply that no request waits for, and a reply from
// a user who was not asked: that one is for another session of this user.
func (cn *conn) answered(m *protocol.Message) {
	cn.mu.Lock()
	r, open := cn.requests[m.ID]
	open = open && (m.UserID == "" || m.UserID == r.of)
	if open {
		delete(cn.requests, m.ID)
	}
	cn.mu.Unlock()
	if !open {
		return
	}
	if m.Flags&protocol.FlagError != 0 {
		r.answer <- answer{err: closeNotice(m.Body)}
		return
	}
	r.answer <- answer{reply: m.Clone()}
}

// read reads from the network for frames.
func (cn *conn) read(b []byte) (int, error) {
	n, err := cn.nc.Read(b)
	if n > 0 {
		cn.heard.Store(int64(cn.now()))
	}
	return n, err
}

// frameReader finds messages in a stream of bytes.
type frameReader struct {
	read    func([]byte) (int, error)
	maxBody int
	buf     []byte // what has been read; buf[:used] has been decoded
	used    int
	need    int  // bytes that are needed before the next attempt to decode
	coded   bool // errors of read may have a code
}

const (
	readSize = 16 << 10
	// noticeRoom is by how much the server's notices may be larger than the limit of bodies (docs/protocol.md, "A connection from start to end").
	noticeRoom = 64 << 10
	// maxReserve is the most memory that is allocated for a header alone. For a larger message the buffer doubles as
	// the bytes come.
	maxReserve = 2 << 20
)

// limit returns the largest body that the frame at the beginning of b may have. Of a header that is not whole it is the larger one.
func (f *frameReader) limit(b []byte) int {
	if len(b) >= layout.HeaderLen {
		h := layout.ReadHeader(b)
		isNotice := h.Type() == protocol.TypeClose || h.Type() == protocol.TypeLogon || protocol.Flags(h.Flags())&protocol.FlagError != 0
		if !isNotice {
			return f.maxBody
		}
	}
	return min(f.maxBody, noLimit) + noticeRoom
}

// next decodes the next message into m; m.Body is valid until the next call. An error has a *protocol.CloseError in its
// chain: NetworkError when the stream ended, and otherwise the mistake in it.
func (f *frameReader) next(m *protocol.Message) error {
	for {
		rest := f.buf[f.used:]
		if len(rest) >= max(f.need, 1) {
			n, need, err := protocol.Binary.Decode(rest, m, protocol.DecodeOptions{MaxBody: f.limit(rest)})
			if err != nil {
				return err
			}
			if n > 0 {
				f.used += n
				f.need = 0
				return nil
			}
			f.need = need
		}
		f.makeRoom(len(rest))
		n, err := f.read(f.buf[len(rest):cap(f.buf)])
		f.buf = f.buf[:len(rest)+n]
		if n == 0 && err != nil {
			var ce *protocol.CloseError
			if f.coded && codes.As(err, &ce) {
				return err
			}
			if errors.Is(err, io.EOF) {
				err = errServerEnded
				if len(rest) > 0 {
					err = errServerCutOff
				}
			}
			return networkError(err)
		}
	}
}

var (
	errServerEnded  = errors.New("the server ended the connection without a Close")
	errServerCutOff = errors.New("the server ended the connection within a frame")
)

// makeRoom moves the bytes that are not decoded yet to the front of a buffer with room for the needed bytes.
func (f *frameReader) makeRoom(rest int) {
	size := max(readSize, min(f.need, maxReserve))
	if rest >= size {
		size = min(f.need, max(2*rest, cap(f.buf)))
	}
	if cap(f.buf) < size || rest == 0 && cap(f.buf) > size {
		grown := make([]byte, rest, size)
		copy(grown, f.buf[f.used:])
		f.buf = grown
	} else {
		copy(f.buf[:rest], f.buf[f.used:])
		f.buf = f.buf[:rest]
	}
	f.used = 0
}
