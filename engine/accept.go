package engine

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/protocol"
)

// acceptorsPerListener is how many goroutines accept. Giving a connection to an event loop waits until that loop has it, so
// that several are given in one round of a busy loop. gnet chooses the loop with the fewest connections.
const acceptorsPerListener = 4

// Listen opens the listeners, so that Addrs can tell them; Run does it when it was not done. An error names the address.
func (e *Engine) Listen() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running {
		return ErrRunning
	}
	return e.listen()
}

// listen opens the listeners that are not open. e.mu is held on entry.
func (e *Engine) listen() error {
	if e.listeners != nil {
		return nil
	}
	var open []net.Listener
	for _, l := range e.cfg.Listeners {
		// No TCP keep-alive: whoever is silent is found by the heartbeat, and it costs four system calls a connection.
		ln, err := (&net.ListenConfig{KeepAlive: -1}).Listen(context.Background(), "tcp", l.Addr)
		if err != nil {
			for _, o := range open {
				_ = o.Close()
			}
			return err
		}
		open = append(open, ln)
	}
	e.listeners = open
	return nil
}

// Addrs returns the addresses that the engine listens on, in the order of Config.Listeners; nil before Listen or Run.
func (e *Engine) Addrs() []net.Addr {
	e.mu.Lock()
	defer e.mu.Unlock()
	var addrs []net.Addr
	for _, ln := range e.listeners {
		addrs = append(addrs, ln.Addr())
	}
	return addrs
}

func (e *Engine) startAccepting() {
	limit := e.cfg.MaxConnections
	switch {
	case limit < 0:
		limit = noLimit
	case limit == 0:
		limit = descriptorsLeft()
	}
	for i, ln := range e.listeners {
		codec := e.cfg.Listeners[i].Codec
		if codec == nil {
			codec = e.cfg.Codec
		}
		for range acceptorsPerListener {
			e.accepting.Add(1)
			go e.accept(ln, codec, limit)
		}
	}
}

// accept takes in connections until the listener is closed. Running out of descriptors is a matter of waiting.
func (e *Engine) accept(ln net.Listener, codec protocol.Codec, limit int) {
	defer e.accepting.Done()
	const maxPause = time.Second
	pause := time.Duration(0)
	var local net.IP
	for {
		nc, err := ln.Accept()
		if err != nil {
			select {
			case <-e.stopping:
				return
			default:
			}
			if errors.Is(err, net.ErrClosed) {
				e.fail(err)
				return
			}
			pause = min(max(2*pause, 5*time.Millisecond), maxPause)
			e.log.Warn("accepting failed; trying again", zap.Error(err), zap.Duration("pause", pause))
			select {
			case <-e.stopping:
				return
			case <-time.After(pause):
			}
			continue
		}
		pause = 0
		e.accepted.Add(1)
		if !e.conns.takePlace(limit) {
			e.refused.Add(1)
			e.closed.Add(protocol.TooManyConnections)
			e.turnAway(nc, codec)
			continue
		}
		lighten(nc, &local)
		e.enroll(nc, codec)
	}
}

// lighten makes the addresses that gnet keeps smaller, by 47 bytes for a connection: what the kernel said hangs on each. net
// forbids to change them since it shares them among all who ask, but nobody has asked yet. local is the last local IP.
func lighten(nc net.Conn, local *net.IP) {
	to, ok := nc.LocalAddr().(*net.TCPAddr)
	from, okToo := nc.RemoteAddr().(*net.TCPAddr)
	if !ok || !okToo {
		return
	}
	if !to.IP.Equal(*local) {
		*local = slices.Clone(to.IP)
	}
	to.IP = *local
	if ip := from.IP.To4(); ip != nil {
		from.IP = ip
	}
	from.IP = slices.Clone(from.IP)
}

// enroll gives a connection to an event loop. gnet says that all went well also when it did not: what counts is whether
// the connection was opened.
func (e *Engine) enroll(nc net.Conn, codec protocol.Codec) {
	c := &Conn{id: lastConnID.Add(1), engine: e, codec: codec, remote: remoteText(nc)}
	_, err := e.client.EnrollContext(nc, c)
	if err != nil || c.loop == nil {
		e.conns.open.Add(-1)
		e.log.Debug("a connection could not be given to an event loop", zapConn(c), zap.Error(err))
	}
}

// remoteText is the peer's address as text: what String returns, in one allocation instead of three.
func remoteText(nc net.Conn) string {
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().String()
	}
	return nc.RemoteAddr().String()
}

// turnAway tells a connection over the limit so, and lingers until the peer has read it; 64 at a time, more are closed
// untold.
func (e *Engine) turnAway(nc net.Conn, codec protocol.Codec) {
	select {
	case e.lingering <- struct{}{}:
	default:
		_ = nc.Close()
		return
	}
	e.accepting.Add(1)
	go func() {
		defer func() {
			_ = nc.Close()
			<-e.lingering
			e.accepting.Done()
		}()
		notice, err := appendFrame(codec, nil, &protocol.Message{Type: protocol.Close, Body: protocol.AppendClose(nil,
			&protocol.CloseError{Code: protocol.TooManyConnections, Text: "the server is full"})})
		if err != nil {
			return
		}
		_ = nc.SetDeadline(time.Now().Add(min(e.cfg.CloseTimeout, 5*time.Second)))
		if _, err := nc.Write(notice); err != nil {
			return
		}
		if tcp, ok := nc.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
		done := make(chan struct{})
		defer close(done)
		go func() { // a stopping engine does not wait for strangers
			select {
			case <-e.stopping:
				_ = nc.SetDeadline(time.Now())
			case <-done:
			}
		}()
		_, _ = io.Copy(io.Discard, nc)
	}()
}
