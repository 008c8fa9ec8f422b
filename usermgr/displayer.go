package usermgr

import (
	"context"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/protocol"
)

const defaultDisplayInterval = time.Second

// UserDisplayer shows the users who are online, and their traffic: as a table on a console, a window or a web page. Manager.Display
// feeds it. Its methods are called one at a time, from a goroutine of the display: a method that blocks delays only the display. A
// panic is recovered, logged (once for each look) and counted in Stats.HandlerPanics.
type UserDisplayer interface {
	// ClearAll empties the list. It is the first call of a display, and comes once.
	ClearAll()
	// SetOrUpdateUserItem shows a user who has come online, or new numbers or a new address of a user who is shown.
	SetOrUpdateUserItem(item DisplayItem)
	// RemoveUser removes a shown user from the list. cause is the close code of the user's last session.
	RemoveUser(userID string, cause protocol.CloseCode)
}

// Refresher is an optional interface of a UserDisplayer that draws everything at once: Refresh is called at the end of every look
// that has called another method.
type Refresher interface {
	// Refresh is called on the display's goroutine.
	Refresh()
}

// DisplayItem is the data that is shown of a user. It is a copy and does not change. Items that look the same are equal (==).
type DisplayItem struct {
	UserID  string
	Address Address
	// In counts what was received from the user's clients, and Out what was sent to them, since the user came online, also on
	// sessions that were replaced. In.Messages is the number of requests; Out.Bytes is the number of bytes that the user has
	// downloaded.
	In, Out protocol.Traffic
}

// Display shows the users on d until stop is called or the manager is closed. It calls ClearAll, takes a first look at the users at
// once, and takes each further look when the time every has passed since the end of the last one. 0 or less means one second.
//
// A look makes at most one call for each user, and none for a user whose numbers and address have not changed. So a user who has left
// and come back between two looks stays on display; a user who came and left between two looks is never shown; a user whose session
// was replaced is shown with the new address. A user is removed when the Offline handlers of those who subscribed before have
// returned. Looks read counters that exist anyway, so they cost the message path nothing.
//
// stop ends the display and waits for a running call of d, so it must not be called inside d. No call begins afterwards; the list
// stays as it is. A second stop only waits. Manager.Close ends the display with a last look, which removes all users, and waits for
// it until its context ends. On a closed manager Display does nothing.
func (m *Manager) Display(d UserDisplayer, every time.Duration) (stop func()) {
	if every <= 0 {
		every = defaultDisplayInterval
	}
	v := &display{
		manager:  m,
		to:       d,
		interval: every,
		shown:    make(map[string]*DisplayItem),
		cause:    make(map[string]protocol.CloseCode),
		left:     make(map[string]protocol.CloseCode),
		quit:     make(chan struct{}),
		ended:    make(chan struct{}),
	}
	if !m.displays.add(v) {
		return func() {}
	}
	unsubscribe := m.Subscribe(Events{Disconnected: v.disconnected, Left: v.offline})
	go func() {
		defer close(v.ended)
		defer m.displays.remove(v)
		defer unsubscribe()
		v.run()
	}()
	return v.stop
}

// display feeds one UserDisplayer.
type display struct {
	manager  *Manager
	to       UserDisplayer
	interval time.Duration

	mu    sync.Mutex
	shown map[string]*DisplayItem       // only run's goroutine writes it, under mu; only that goroutine uses the items
	cause map[string]protocol.CloseCode // why the shown users lost their last session
	left  map[string]protocol.CloseCode // the shown users who have gone offline since the last look

	once     sync.Once
	quit     chan struct{} // closed by stop
	ended    chan struct{} // closed when run's goroutine has ended
	called   bool          // the look has called to
	panicked bool          // the look has met a panic
}

// disconnected notes why a user may be about to go offline. It is an event handler, so the calls for one user come in
// order. It ignores users who are not shown: otherwise the maps would grow without limit while a displayer blocks.
func (v *display) disconnected(s SessionInfo, why protocol.CloseCode) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.shown[s.UserID] != nil {
		v.cause[s.UserID] = why
	}
}

// offline notes that a user has gone offline. That may be some time after the last session ended.
func (v *display) offline(u UserData) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.shown[u.UserID] == nil {
		return
	}
	why, known := v.cause[u.UserID]
	if !known { // the display began while the user was in the grace
		why = protocol.NetworkError
	}
	v.left[u.UserID] = why
}

func (v *display) run() {
	v.call(v.to.ClearAll)
	v.look()
	pause := time.NewTimer(v.interval)
	defer pause.Stop()
	for {
		select {
		case <-v.quit:
			return
		case <-v.manager.displays.quit:
			v.look()
			return
		case <-pause.C:
			v.look()
			pause.Reset(v.interval)
		}
	}
}

// look shows what has changed since the last look.
func (v *display) look() {
	v.mu.Lock()
	left := v.left
	v.left = make(map[string]protocol.CloseCode)
	v.mu.Unlock()
	for u := range v.manager.users.all() {
		if v.show(u) {
			delete(left, u.id) // has come back since
		}
	}
	for userID, cause := range left {
		v.mu.Lock()
		if again, ok := v.left[userID]; ok { // came back and left again during this call
			cause = again
		}
		v.forget(userID)
		v.mu.Unlock()
		v.call(func() { v.to.RemoveUser(userID, cause) })
	}
	if r, ok := v.to.(Refresher); ok && v.called {
		v.call(r.Refresh)
	}
	v.called, v.panicked = false, false
}

// forget marks userID as not shown. v.mu is held on entry.
func (v *display) forget(userID string) {
	delete(v.shown, userID)
	delete(v.cause, userID)
	delete(v.left, userID)
}

// show shows u if anything has changed, and reports whether u is online.
func (v *display) show(u *user) bool {
	item, was := v.shown[u.id]
	if !was { // set before u is read, so that disconnected does not miss a departure in between
		item = new(DisplayItem)
		v.mu.Lock()
		v.shown[u.id] = item
		v.mu.Unlock()
	}
	now, online := u.displayItem()
	switch {
	case online && now != *item:
		*item = now
		v.call(func() { v.to.SetOrUpdateUserItem(now) })
	case !online && !was:
		v.mu.Lock()
		v.forget(u.id)
		v.mu.Unlock()
	}
	return online
}

// call calls the displayer, unless the display was stopped.
func (v *display) call(f func()) {
	select {
	case <-v.quit:
		return
	default:
	}
	v.called = true
	contain.Apart(f, func(p any) {
		v.manager.handlerPanics.Add(1)
		if !v.panicked {
			v.panicked = true
			v.manager.log.Error("a user displayer panicked", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
		}
	})
}

func (v *display) stop() {
	v.once.Do(func() { close(v.quit) })
	<-v.ended
}

// displayItem returns the item of u, and whether u is online.
func (u *user) displayItem() (DisplayItem, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	i := DisplayItem{UserID: u.id}
	if p := u.lazy.Load(); p != nil {
		i.In, i.Out = p.in, p.out
	}
	for s := range u.all {
		i.Address = s.address() // the newest session's
		addTraffic(&i.In, s.in.load())
		addTraffic(&i.Out, s.out.load())
	}
	return i, u.countsAsOnline()
}

// displays has the running displays; Close ends them.
type displays struct {
	quit    chan struct{} // closed when the manager closes
	mu      sync.Mutex
	running map[*display]struct{}
	closed  bool
}

func (d *displays) init() {
	d.quit, d.running = make(chan struct{}), make(map[*display]struct{})
}

// add reports whether v may run.
func (d *displays) add(v *display) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.running[v] = struct{}{}
	return true
}

func (d *displays) remove(v *display) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.running, v)
}

// stop lets every display have its last look, and waits for it.
func (d *displays) stop(ctx context.Context) error {
	d.mu.Lock()
	if !d.closed {
		d.closed = true
		close(d.quit)
	}
	running := slices.Collect(maps.Keys(d.running))
	d.mu.Unlock()
	for _, v := range running {
		select {
		case <-v.ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
