package engine

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// acceptorsPerListener is the number of goroutines that accept. Each gives a connection to an event loop and waits
// until the loop has it. With several acceptors one round of a busy loop takes several connections. gnet chooses the
// loop with the fewest connections.
const acceptorsPerListener = 4

// Listen opens the listeners, so that Addrs can return their addresses. Run calls it if the program has not. An error names the
// address, or the invalid setting.
func (e *Engine) Listen() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running {
		return errRunning
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
		ln, err := e.listenOn(l)
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

// listenOn opens a listener.
func (e *Engine) listenOn(l Listener) (net.Listener, error) {
	if l.Network == "udp" {
		return e.listenUDP(l)
	}
	// This turns TCP keep-alive off; keepAwake sets it where it is needed.
	return (&net.ListenConfig{KeepAlive: -1}).Listen(context.Background(), cmp.Or(l.Network, "tcp"), l.Addr)
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
	e.most = limit
	first := e.cfg.Listeners[0]
	e.served = e.newEntrance(servedConns, nil, Listener{Codec: first.Codec, NewCodec: first.NewCodec})
	e.servedShaking = e.newEntrance(servedConns, nil, Listener{Codec: first.Codec, NewCodec: first.NewCodec})
	e.servedShaking.stages = append(e.servedShaking.stages, ownHandshake)
	close(e.ready)
	for i, ln := range e.listeners {
		at := e.newEntrance(i, ln, e.cfg.Listeners[i])
		if u, ok := ln.(*udpListener); ok {
			u.read()
		}
		for range acceptorsPerListener {
			e.accepting.Add(1)
			go e.accept(at)
		}
	}
}

// accept takes in connections until the listener is closed. It waits while no descriptor is left.
func (e *Engine) accept(at *entrance) {
	defer e.accepting.Done()
	const maxPause = time.Second
	pause := time.Duration(0)
	var local net.IP
	plain := len(at.stages) == 0 // nothing keeps an arrival when arrive has returned
	a := new(arrival)
	for {
		nc, err := at.ln.Accept()
		if err != nil {
			select {
			case <-e.stopping:
				return
			default:
			}
			if errors.Is(err, net.ErrClosed) {
				e.askToStop(err)
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
		if !plain {
			a = new(arrival)
		}
		*a = arrival{engine: e, at: at, nc: nc}
		a.askAddresses()
		shrinkAddrs(nc, &local, at.tls == nil)
		e.arrive(a)
	}
}

// arrive takes the connection's places, waits for its turn by Accept.Rate, and starts its handshake if it has one. The
// handshake runs on another goroutine.
func (e *Engine) arrive(a *arrival) {
	e.accepted.Add(1)
	if a.at.proxies != nil {
		a.Proxy = a.Remote
		if _, unix := a.nc.(*net.UnixConn); !unix && !contains(a.at.proxies, a.Proxy.Addr()) {
			a.turnAway(refusedProxy, nil)
			return
		}
	} else if a.forwards = a.at.web.trusts(a); a.forwards {
		a.Proxy = a.Remote
	} else if r := a.takeOrigin(a.Remote.Addr()); r != letIn {
		a.turnAway(r, r.notice(a.at))
		return
	}
	if !e.conns.takePlace(e.most) {
		e.gate.leave(a.origin, false)
		a.turnAway(refusedFull, refusedFull.notice(a.at))
		return
	}
	switch {
	case !e.waitTurn():
		a.refuse(refusedStopping, nil)
	case len(a.at.stages) > 0:
		e.handshakes.add(a)
	default:
		a.enroll()
	}
}

// turnAway refuses a connection that has no place yet.
func (a *arrival) turnAway(r refusal, why *protocol.CloseError) {
	a.engine.refused[r].Add(1)
	a.engine.turnAway(a.nc, a.at, why)
	a.tellServed(r, why)
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

// turnAway tells a connection why it may not come in, if possible, and closes it. Unless why is nil, e.accepting waits
// for the calling goroutine.
func (e *Engine) turnAway(nc net.Conn, at *entrance, why *protocol.CloseError) {
	if why == nil || why.Code == protocol.ClientClosed || why.Code == protocol.NetworkError { // codes that are never sent
		_ = nc.Close()
		return
	}
	timeout := min(e.cfg.Timeouts.Close, 5*time.Second)
	e.rejectWithNotice(nc, timeout, func() error {
		notice, err := at.noticeOf(e, why)
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

// noticeOf returns what a connection is told that is not let in.
func (at *entrance) noticeOf(e *Engine, why *protocol.CloseError) ([]byte, error) {
	if at.web != nil {
		return busyAnswer(why), nil
	}
	codec, err := at.codecFor(e)
	if err != nil {
		return nil, err
	}
	return appendFrame(codec, nil, &protocol.Message{Type: protocol.TypeClose, Body: system.AppendClose(nil, why)}, nil)
}

// rejectWithNotice calls say for a connection that is not let in, lingers until the peer has read the notice, and
// closes the connection. 64 calls run at a time; further connections are closed without a notice. e.accepting waits for
// the calling goroutine.
func (e *Engine) rejectWithNotice(nc net.Conn, timeout time.Duration, say func() error) {
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
		hangUp := func() { _ = nc.Close() }
		defer time.AfterFunc(timeout, hangUp).Stop()
		defer context.AfterFunc(e.untilStop, hangUp)() // a stop does not wait for connections that were not let in
		contain.Call(func() {                          // a method of nc may panic
			if say() != nil {
				return
			}
			if errors.Is(closeWrite(nc), errors.ErrUnsupported) { // only the end of the whole connection tells the peer
				return
			}
			_, _ = io.Copy(io.Discard, nc)
		}, func(v any) { e.panicked("a connection that is turned away", v) })
	}()
}
