package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rollcall-go/rollcall/clients/conformance/testee"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

func invalid(err error) *protocol.CloseError {
	return &protocol.CloseError{Code: protocol.InvalidMessage, Text: err.Error()}
}

func lost(err error) *protocol.CloseError {
	return &protocol.CloseError{Code: protocol.NetworkError, Text: err.Error()}
}

// run connects, and comes back, until the client has ended.
func (c *client) run() {
	defer close(c.done)
	var (
		attempt int
		online  bool // it has been
		ghost   = 30 * time.Second
		since   time.Time // the loss
	)
	for {
		began := time.Now()
		accepted, interval, why := c.connection()
		now := time.Now()
		if accepted {
			online, since = true, now
			if stable := time.Duration(c.how.StableMS) * time.Millisecond; stable > 0 && now.Sub(began) >= stable || now.Sub(began) >= time.Minute || breaks("backoff-from-each-logon") {
				attempt = 0
			}
			if ghost = 3 * interval; ghost == 0 {
				ghost = 30 * time.Second
			}
		}
		may := mayReconnect(why.Code)
		alive := why.Code == protocol.AlreadyLoggedOn && !accepted && now.Sub(since) < ghost && !breaks("ends-when-online")
		c.mu.Lock()
		stopped := c.stopped
		c.over = stopped || !online || !may && !alive
		over := c.over
		c.mu.Unlock()
		switch {
		case stopped:
			testee.Tell(testee.Event{"event": "state", "state": "closed", "code": 1000, "text": "", "may_reconnect": true})
			return
		case over:
			testee.Tell(testee.Event{"event": "state", "state": "closed", "code": why.Code, "text": why.Text, "may_reconnect": may})
			return
		}
		c.aim(why, accepted)
		testee.Tell(testee.Event{"event": "state", "state": "reconnecting", "code": why.Code, "text": why.Text, "may_reconnect": may})
		select {
		case <-time.After(c.pause(why, attempt)):
		case <-c.stop:
		}
		attempt++
	}
}

func mayReconnect(code protocol.CloseCode) bool {
	switch code / 1000 {
	case 1:
		return true
	case 2:
		return breaks("comes-back-after-2xxx")
	case 3:
		return !breaks("ends-after-3xxx")
	}
	return false
}

// aim chooses the next address.
func (c *client) aim(why *protocol.CloseError, accepted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !accepted && !breaks("stays-at-the-address") {
		c.address = c.how.Address
	}
	if to := why.Info[protocol.FieldAddress]; to != "" && !breaks("ignores-address") {
		scheme, _, _ := strings.Cut(c.how.Address, "://")
		c.address = scheme + "://" + to
	}
}

// pause returns how long to wait before an attempt.
func (c *client) pause(why *protocol.CloseError, attempt int) time.Duration {
	limit := min(time.Duration(c.how.MinMS)*time.Millisecond<<min(attempt, 8), time.Duration(c.how.MaxMS)*time.Millisecond)
	wait := rand.N(limit + 1)
	switch {
	case breaks("no-jitter"):
		wait = limit
	case breaks("half-jitter"):
		wait = limit/2 + wait/2
	}
	if ms, err := strconv.ParseUint(why.Info[protocol.FieldRetryMS], 10, 64); (err == nil || errors.Is(err, strconv.ErrRange)) && !breaks("ignores-retry-ms") {
		wait += time.Duration(min(ms, uint64(time.Hour/time.Millisecond))) * time.Millisecond
	}
	return wait
}

// dial makes a connection, unless the client is to end.
func (c *client) dial() (net.Conn, error) {
	c.mu.Lock()
	scheme, hostPort, _ := strings.Cut(c.address, "://")
	stopped := c.stopped
	c.mu.Unlock()
	if stopped {
		return nil, net.ErrClosed
	}
	nc, err := net.DialTimeout("tcp", hostPort, 10*time.Second)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.raw, stopped = nc, c.stopped
	c.mu.Unlock()
	if stopped {
		_ = nc.Close()
		return nil, net.ErrClosed
	}
	if scheme != "tls" {
		return nc, nil
	}
	host, _, _ := net.SplitHostPort(hostPort)
	pool := x509.NewCertPool()
	text, _ := os.ReadFile(c.how.CA)
	pool.AppendCertsFromPEM(text)
	tc := tls.Client(nc, &tls.Config{ServerName: host, InsecureSkipVerify: true, VerifyConnection: func(s tls.ConnectionState) error {
		options := x509.VerifyOptions{Roots: pool, DNSName: host}
		if breaks("any-name") {
			options.DNSName = ""
		}
		if breaks("any-authority") {
			return nil
		}
		_, err := s.PeerCertificates[0].Verify(options)
		return err
	}})
	return tc, tc.Handshake()
}

// connection logs on and reads until the end, and returns why it has ended.
func (c *client) connection() (accepted bool, interval time.Duration, why *protocol.CloseError) {
	if err := protocol.CheckUserID(c.how.User); c.how.User != "" && err != nil {
		return false, 0, invalid(err)
	}
	fields := map[string]string{}
	for k, v := range c.how.Fields {
		fields[k] = v
	}
	c.mu.Lock()
	if len(c.how.Tokens) > 0 {
		fields["token"] = c.how.Tokens[min(c.asked, len(c.how.Tokens)-1)]
		if !breaks("token-once") {
			c.asked++
		}
	}
	if c.session != "" && !breaks("forgets-the-session") {
		fields["session"] = c.session
	}
	c.mu.Unlock()
	body, err := protocol.AppendStringMap(nil, fields)
	if err != nil {
		return false, 0, invalid(err)
	}
	f, err := protocol.Binary.Append(nil, &protocol.Message{Type: protocol.TypeLogon, ID: 1, Device: c.how.Device, UserID: c.how.User, Body: body})
	if err != nil {
		return false, 0, invalid(err)
	}
	nc, err := c.dial()
	if err != nil {
		return false, 0, lost(err)
	}
	defer nc.Close()
	c.write(nc, f)
	in := &reader{nc: nc, maxBody: protocol.DefaultMaxBody}
	var m protocol.Message
	if why := in.next(c, &m); why != nil {
		return false, 0, why
	}
	if m.Type == protocol.TypeClose {
		why, err := protocol.ParseClose(m.Body)
		if err != nil {
			why = invalid(err)
		}
		return false, 0, why
	}
	told, err := protocol.ParseLogonReply(m.Body)
	var refused *protocol.CloseError
	switch {
	case errors.As(err, &refused):
		return false, 0, refused
	case err != nil || m.Type != protocol.TypeLogon || !m.IsReply():
		return false, 0, invalid(errors.New("no reply to the Logon"))
	}
	interval = c.welcome(nc, in, &m, told)
	ended := make(chan struct{})
	defer close(ended)
	go c.beat(nc, interval, ended)
	for why == nil {
		if why = in.next(c, &m); why != nil {
			if why.Code != protocol.NetworkError && !breaks("bad-frames") {
				c.complain(nc, why)
			}
		} else {
			why = c.received(nc, m.Clone())
		}
	}
	c.offline()
	return true, interval, why
}

// welcome notes what the server has told.
func (c *client) welcome(nc net.Conn, in *reader, m *protocol.Message, told map[string]string) (interval time.Duration) {
	ms, err := strconv.Atoi(told[protocol.FieldHeartbeatMS])
	if interval = time.Duration(max(ms, 100)) * time.Millisecond; err != nil || ms <= 0 {
		interval = 10 * time.Second
	}
	c.mu.Lock()
	if m.DestUserID != "" {
		c.user = m.DestUserID
	}
	c.session, c.maxBody = told[protocol.FieldSession], protocol.DefaultMaxBody
	if n, err := strconv.Atoi(told[system.FieldMaxBody]); err == nil {
		c.maxBody = n
		in.maxBody = max(in.maxBody, n)
	}
	c.nc, c.heard = nc, time.Now()
	unsent, user, stopped := c.unsent, c.user, c.stopped
	c.unsent = nil
	c.mu.Unlock()
	testee.Tell(testee.Event{"event": "state", "state": "online", "user": user})
	for _, id := range unsent {
		c.acknowledge(id)
	}
	if stopped {
		go c.leave(nc, &protocol.CloseError{Code: protocol.ClientClosed})
	}
	return interval
}

func (c *client) offline() {
	c.mu.Lock()
	c.nc = nil
	var open []uint32
	for id := range c.waiting {
		open = append(open, id)
	}
	c.mu.Unlock()
	for _, id := range open {
		c.fails(id, testee.Event{"reason": "disconnected"})
	}
}

// complain tells the server of its mistake, and reads to the end.
func (c *client) complain(nc net.Conn, why *protocol.CloseError) {
	c.leave(nc, why)
	_ = nc.SetReadDeadline(time.Now().Add(3 * time.Second))
	_, _ = io.Copy(io.Discard, nc)
}

// leave sends a Close and ends this side.
func (c *client) leave(nc net.Conn, why *protocol.CloseError) {
	f, err := protocol.Binary.Append(nil, &protocol.Message{Type: protocol.TypeClose, Body: system.AppendClose(nil, why)})
	if err != nil {
		panic(err)
	}
	c.write(nc, f)
	if breaks("reset-at-close") {
		_ = nc.Close()
		return
	}
	if half, ok := nc.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	time.AfterFunc(3*time.Second, func() { _ = nc.Close() })
}

// beat sends heartbeats, and asks, until the connection has ended.
func (c *client) beat(nc net.Conn, interval time.Duration, ended chan struct{}) {
	var asked time.Time
	for {
		select {
		case <-ended:
			return
		case <-time.After(interval / 20):
		}
		now := time.Now()
		c.mu.Lock()
		silent, idle := now.Sub(c.heard), now.Sub(c.sent)
		id := c.nextID()
		c.mu.Unlock()
		due := interval
		if breaks("beats-late") {
			due = 4 * interval
		}
		switch {
		case silent >= 3*interval && !asked.IsZero() && now.Sub(asked) >= interval && !breaks("never-asks"):
			_ = nc.Close()
			return
		case silent >= interval && now.Sub(asked) >= due && !breaks("never-asks") && !breaks("beats-late"):
			asked = now
			c.send(&protocol.Message{Type: protocol.TypeHeartbeat, ID: id})
		case idle >= due:
			c.send(&protocol.Message{Type: protocol.TypeHeartbeat})
		}
		if silent < interval {
			asked = time.Time{}
		}
	}
}

// reader finds frames.
type reader struct {
	nc      net.Conn
	maxBody int
	buf     []byte
}

func (r *reader) next(c *client, m *protocol.Message) *protocol.CloseError {
	for {
		if len(r.buf) > 0 {
			n, _, err := protocol.Binary.Decode(r.buf, m, protocol.DecodeOptions{MaxBody: r.maxBody})
			var ce *protocol.CloseError
			if errors.As(err, &ce) {
				return ce
			}
			if n > 0 {
				r.buf = r.buf[n:]
				return nil
			}
		}
		piece := make([]byte, 64<<10)
		n, err := r.nc.Read(piece)
		r.buf = append(r.buf, piece[:n]...)
		c.mu.Lock()
		c.heard = time.Now()
		c.mu.Unlock()
		if n == 0 && err != nil {
			return lost(err)
		}
	}
}
