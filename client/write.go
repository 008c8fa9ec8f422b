package client

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

const (
	// writeSize is the most that is written at a time. The write timeout begins anew for each piece.
	writeSize = 64 << 10
	// lastWords is how long the reader may look for the server's Close after a failed write.
	lastWords = time.Second
)

// writeAll writes queued messages and heartbeats until the connection ends. It is the goroutine that writes.
func (cn *conn) writeAll() {
	b := newPulse(cn)
	timer := time.NewTimer(b.wait(cn.now()))
	defer timer.Stop()
	var spare []byte
	for {
		select {
		case <-cn.dead:
			return
		case <-cn.wake:
		case <-timer.C:
			if err := b.beat(cn.now()); err != nil {
				cn.end(err)
				return
			}
		}
		for {
			batch, leaving := cn.takeOut(spare)
			if len(batch) == 0 && leaving {
				cn.shutWrite()
				<-cn.dead
				return
			}
			err := cn.writePong()
			if err == nil && len(batch) == 0 {
				break
			}
			spare = nil
			if err == nil {
				err = cn.write(batch)
			}
			if err != nil {
				cn.writeFailed(err)
				<-cn.dead
				return
			}
			b.sent = cn.now()
			if cap(batch) <= maxQueued {
				spare = batch[:0]
			}
		}
		timer.Reset(b.wait(cn.now()))
	}
}

// takeOut takes the queued bytes and leaves an empty queue. It lets the callers of Send that wait for room go on.
func (cn *conn) takeOut(spare []byte) (batch []byte, leaving bool) {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	batch = cn.out
	if len(batch) > 0 {
		cn.out = spare
	}
	if cn.space != nil {
		close(cn.space)
		cn.space = nil
	}
	return batch, cn.leaving
}

// write writes whole frames. Over WebSocket they become one message.
func (cn *conn) write(frames []byte) error {
	if cn.ws != nil {
		frames = cn.ws.message(frames)
	}
	return cn.writeBytes(frames)
}

func (cn *conn) writeBytes(b []byte) error {
	for len(b) > 0 {
		if err := cn.nc.SetWriteDeadline(time.Now().Add(cn.client.cfg.Timeouts.Write)); err != nil {
			return err
		}
		n, err := cn.nc.Write(b[:min(len(b), writeSize)])
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// writeFailed ends the connection after a failed write. When the peer has closed it, the reader ends it, because there
// may be an unread notice that forbids to reconnect.
func (cn *conn) writeFailed(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		cn.end(networkError(fmt.Errorf("the network took nothing for %v: %w", cn.client.cfg.Timeouts.Write, err)))
		return
	}
	cn.mu.Lock()
	defer cn.mu.Unlock()
	cn.cut = true
	if cn.why == nil && cn.timer == nil {
		cn.timer = time.AfterFunc(lastWords, func() { cn.end(networkError(err)) })
	}
	if cn.space != nil { // callers that wait for room learn that nothing more can be sent
		close(cn.space)
		cn.space = nil
	}
}

// shutWrite ends this side of the connection, if the network can do that.
func (cn *conn) shutWrite() {
	if cn.ws != nil {
		cn.mu.Lock()
		code := cn.webCode
		cn.mu.Unlock()
		_ = cn.writeBytes(cn.ws.closeFrame(code))
		return
	}
	if half, ok := cn.nc.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// post queues a message of the client itself, without waiting.
func (cn *conn) post(m *protocol.Message) {
	cn.mu.Lock()
	if !cn.cut {
		cn.out, _ = protocol.Binary.Append(cn.out, m) // it cannot fail: the message has no user IDs and no large body
	}
	cn.mu.Unlock()
	token(cn.wake)
}
