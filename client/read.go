package client

import (
	"errors"
	"io"

	"github.com/rollcall-go/rollcall/protocol"
)

// readAll reads until the connection ends, and returns why it did. It is the goroutine that reads.
func (cn *conn) readAll() error {
	var m protocol.Message
	for {
		if err := cn.frames.next(&m); err != nil {
			var ce *protocol.CloseError
			if errors.As(err, &ce) && ce.Code != protocol.NetworkError { // the server is told what it did wrong
				cn.leave(err, ce.Code, ce.Text)
				_, _ = io.Copy(io.Discard, cn.nc)
			}
			return err
		}
		if err := cn.receive(&m); err != nil {
			return err
		}
	}
}

// receive deals with a message, whose body is the frame reader's. An error ends the connection.
func (cn *conn) receive(m *protocol.Message) error {
	switch {
	case m.IsReply():
		cn.answered(m)
	case m.Type == protocol.Heartbeat:
		if m.ID != 0 {
			cn.post(&protocol.Message{Type: protocol.Heartbeat, Flags: protocol.FlagReply, ID: m.ID})
		}
	case m.Type == protocol.Close:
		return closeNotice(m.Body)
	case m.Type >= protocol.FirstSystemType: // of a later version of the protocol
	default:
		return cn.deliver(m.Clone())
	}
	return nil
}

// deliver puts a message into the inbox, and so may wait for the handlers.
func (cn *conn) deliver(m *protocol.Message) error {
	it := item{message: m, size: protocol.HeaderLen + len(m.UserID) + len(m.DestUserID) + len(m.Body)}
	if !cn.client.inbox.full() {
		return cn.client.inbox.put(it, cn.waits, cn.dead)
	}
	cn.paused.Store(true)
	defer cn.paused.Store(false)
	return cn.client.inbox.put(it, cn.waits, cn.dead)
}

// answered gives a reply to the request that waits for it. One that nobody waits for any more is dropped.
func (cn *conn) answered(m *protocol.Message) {
	cn.mu.Lock()
	ch := cn.requests[m.ID]
	delete(cn.requests, m.ID)
	cn.mu.Unlock()
	if ch == nil {
		return
	}
	if m.Flags&protocol.FlagError != 0 {
		ch <- answer{err: closeNotice(m.Body)}
		return
	}
	ch <- answer{reply: m.Clone()}
}

// read is frames' way to the network.
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
	need    int // bytes that must be there before decoding again makes sense
}

const readSize = 16 << 10

// next decodes the next message into m, whose Body is valid until the next call. An error is a *protocol.CloseError in
// its chain: NetworkError where the stream ended, and otherwise what was wrong with it.
func (f *frameReader) next(m *protocol.Message) error {
	for {
		rest := f.buf[f.used:]
		if len(rest) >= max(f.need, 1) {
			n, need, err := protocol.Binary.Decode(rest, m, protocol.DecodeOptions{MaxBody: f.maxBody})
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

// makeRoom moves the rest bytes that are not decoded yet to the front of a buffer that has room for what is needed.
func (f *frameReader) makeRoom(rest int) {
	size := max(readSize, f.need)
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
