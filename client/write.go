package client

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
)

const (
	// writeSize is how much is written at a time: the write timeout runs anew for each piece.
	writeSize = 64 << 10
	// lastWords is how long the reader may look for the server's Close when writing has failed.
	lastWords = time.Second
)

// writeAll writes what is queued, and heartbeats, until the connection ends. It is the goroutine that writes.
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
			if len(batch) == 0 {
				break
			}
			spare = nil
			if err := cn.write(batch); err != nil {
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

// takeOut takes what is queued, leaving an empty queue in its place, and lets those go on who wait for room.
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

func (cn *conn) write(b []byte) error {
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

// writeFailed ends the connection; but where the peer has closed it, perhaps with a notice that the reader has not come
// to yet, the reader ends it: the notice may forbid to reconnect.
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
	if cn.space != nil { // who waits for room learns that there is no sending any more
		close(cn.space)
		cn.space = nil
	}
}

// shutWrite ends our side, where the network can do that.
func (cn *conn) shutWrite() {
	if half, ok := cn.nc.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// post queues a message of the client's own, without waiting.
func (cn *conn) post(m *protocol.Message) {
	cn.mu.Lock()
	if !cn.cut {
		cn.out, _ = protocol.Binary.Append(cn.out, m) // it has no user IDs and no large body: nothing can fail
	}
	cn.mu.Unlock()
	token(cn.wake)
}
