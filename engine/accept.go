package engine

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/protocol"
)

// acceptorsPerListener is how many goroutines accept. Giving a connection to an event loop waits until that loop has it, so
// that several are given in one round of a busy loop. gnet chooses the loop with the fewest connections.
const acceptorsPerListener = 4

// Listen opens the listeners, so that Addrs can tell them; Run does it when it was not done. An error names the address,
// or the setting that makes no sense.
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
	if len(e.cfg.Listeners) == 0 {
		return errors.New("rollcall: no address to listen on: set Config.Listeners")
	}
	var open []net.Listener
	for _, l := range e.cfg.Listeners {
		// Without TCP keep-alive, which keepAwake sets where it is wanted.
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
	limit := e.cfg.Accept.MaxConnections
	switch {
	case limit < 0:
		limit = noLimit
	case limit == 0:
		limit = descriptorsLeft()
	}
	for i, ln := range e.listeners {
		l := e.cfg.Listeners[i]
		at := &entrance{index: i, ln: ln, codec: l.Codec, newCodec: l.NewCodec, tls: l.TLS}
		if len(l.ProxyProtocol) > 0 {
			at.proxies = unmapped(l.ProxyProtocol)
		}
		at.staged = at.proxies != nil || e.cfg.OnAccept != nil || l.TLS != nil
		for range acceptorsPerListener {
			e.accepting.Add(1)
			go e.accept(at, limit)
		}
	}
}

// accept takes in connections until the listener is closed. Running out of descriptors is a matter of waiting.
func (e *Engine) accept(at *entrance, limit int) {
	defer e.accepting.Done()
	const maxPause = time.Second
	pause := time.Duration(0)
	var local net.IP
	for {
		nc, err := at.ln.Accept()
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
		e.arrive(at, nc, &local, limit)
	}
}

// remoteText is the peer's address as text: what String returns, in one allocation instead of three.
func remoteText(nc net.Conn) string {
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().String()
	}
	return nc.RemoteAddr().String()
}

// arrive takes a connection on: its places, then its turn by Accept.Rate, then its handshake, if it has one, which is not
// the acceptor's business. local is the acceptor's, for shrinkAddrs.
func (e *Engine) arrive(at *entrance, nc net.Conn, local *net.IP, limit int) {
	a := &arrival{engine: e, at: at, nc: nc, remote: remoteText(nc),
		Incoming: Incoming{Remote: addrPort(nc.RemoteAddr()), Local: addrPort(nc.LocalAddr()), Listener: at.index}}
	shrinkAddrs(nc, local)
	if at.proxies != nil {
		a.Proxy = a.Remote
		if !contains(at.proxies, a.Proxy.Addr()) {
			e.refused[refusedProxy].Add(1)
			_ = nc.Close()
			return
		}
	} else if r := a.takeOrigin(a.Remote.Addr()); r != letIn {
		e.refused[r].Add(1)
		e.turnAway(nc, at, r.notice(at))
		return
	}
	if !e.conns.takePlace(limit) {
		e.refused[refusedFull].Add(1)
		e.gate.leave(a.origin, false)
		e.turnAway(nc, at, refusedFull.notice(at))
		return
	}
	switch {
	case !e.waitTurn():
		a.refuse(refusedStopping, nil)
	case at.staged:
		e.handshakes.add(a)
	default:
		a.enroll()
	}
}

// waitTurn waits until Accept.Rate lets the next connection in. It reports false when the engine stops first.
func (e *Engine) waitTurn() bool {
	if e.pace == nil {
		return true
	}
	wait := e.pace.Reserve().Delay()
	if wait == 0 {
		return true
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-e.stopping:
		return false
	}
}

// turnAway tells a connection why it may not come in, if it can, and closes it. It is called by a goroutine that e.accepting
// waits for, unless why is nil.
func (e *Engine) turnAway(nc net.Conn, at *entrance, why *protocol.CloseError) {
	if why == nil || why.Code == protocol.ClientClosed || why.Code == protocol.NetworkError { // codes that are never sent
		_ = nc.Close()
		return
	}
	timeout := min(e.cfg.Timeouts.Close, 5*time.Second)
	e.tellStranger(nc, timeout, func() error {
		codec, err := at.codecFor(e)
		if err != nil {
			return err
		}
		notice, err := appendFrame(codec, nil, &protocol.Message{Type: protocol.TypeClose, Body: protocol.AppendClose(nil, why)}, nil)
		if err != nil {
			return err
		}
		if at.tls != nil {
			return e.tellSecurely(nc, at.tls, notice, why.Code)
		}
		e.closed.Add(why.Code)
		_, err = nc.Write(notice)
		return err
	})
}

// tellStranger has something said to a connection that is not let in, lingers until the peer has read it, and closes the
// connection; 64 at a time, more are closed untold. It is called by a goroutine that e.accepting waits for.
func (e *Engine) tellStranger(nc net.Conn, timeout time.Duration, say func() error) {
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
		_ = nc.SetDeadline(time.Now().Add(timeout))
		defer context.AfterFunc(e.untilStop, func() { _ = nc.SetDeadline(time.Now()) })() // nobody waits for strangers
		if say() != nil {
			return
		}
		if tcp, ok := nc.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
		_, _ = io.Copy(io.Discard, nc)
	}()
}
