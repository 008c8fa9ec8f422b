package presence

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/logging"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Config holds the settings of a Service. With the zero value states are kept in memory, and users are told their own state only.
type Config struct {
	// Contacts says which users see each other's states. Nil means that no user has contacts.
	Contacts Contacts
	// Store keeps what users have chosen, and when they were last online. Nil means in memory, until the process ends.
	Store Store
	// Interval is the time between two ticks. A change is told by the next tick, and a change that is undone before is not told.
	// 0 means 1 s. Negative means that each change is told at once, for tests.
	Interval time.Duration
	// MaxNotices is the largest number of pairs of a change and a watcher that one tick tells, snapshots for Watch and the contacts read for them included. A tick also asks Contacts
	// no further when they have returned so many users for its changes, watching or not. The rest waits for the next tick. 0 means 200,000;
	// negative means no limit.
	MaxNotices int
	// Names are the names that notices have.
	Names Names
	// HideLastOnline leaves out the times where a user is told about another.
	HideLastOnline bool
	// Public lets users ask for the states of all users (Query), except of those who have blocked the asker.
	Public bool
	// Cache bounds what is remembered about users who are offline.
	Cache Cache
	// StoreTimeout is how long a call of a method of Store or Contacts may take; then it counts as failed. 0 means 5 s; negative means for
	// ever.
	StoreTimeout time.Duration
	// Changed, when set, is called for each change that a tick finds, watched or not; in a cluster on each node, for the users of all. Calls come one at a time, in order for a user, on
	// a goroutine of their own. While Changed blocks, the later changes of each user are combined into one. A panic is recovered,
	// logged and counted.
	Changed func(c Change)
	// Logger gets messages for operators. Nil means that warnings and errors go to standard error.
	Logger *zap.Logger
}

// Names are the names of notices, in the field "name". A client may go by the name or by the state. An empty name means the state's own, such
// as "online".
type Names struct{ Online, Offline, Busy, Stealth string }

// Cache bounds what is remembered about users who are not visible, so that others can ask for them without a call of the store.
type Cache struct {
	// Size is the largest number of users. 0 means 100,000; negative means none.
	Size int
	// TTL is how long a user is remembered. A change that another process has stored is seen within that time. 0 means 1 min; negative
	// means that the store is asked each time.
	TTL time.Duration
}

// Change says that others see a user in another state.
type Change struct {
	UserID   string
	Old, New State
	At       time.Time // when the user came, went, or chose; at the tick for Busy
}

const (
	defaultInterval   = time.Second
	defaultMaxNotices = 200_000
	defaultCacheSize  = 100_000
	defaultCacheTTL   = time.Minute
	defaultTimeout    = 5 * time.Second
)

func (c *Config) setDefaults() {
	if c.Interval == 0 {
		c.Interval = defaultInterval
	}
	if c.MaxNotices == 0 {
		c.MaxNotices = defaultMaxNotices
	}
	if c.Cache.Size == 0 {
		c.Cache.Size = defaultCacheSize
	}
	if c.Cache.TTL == 0 {
		c.Cache.TTL = defaultCacheTTL
	}
	if c.StoreTimeout == 0 {
		c.StoreTimeout = defaultTimeout
	}
	if c.Store == nil {
		c.Store = NewMemory()
	}
	for state, name := range map[State]*string{Online: &c.Names.Online, Offline: &c.Names.Offline, Busy: &c.Names.Busy, Stealth: &c.Names.Stealth} {
		if *name == "" {
			*name = state.String()
		}
	}
}

// name returns the name of notices of a state.
func (n *Names) name(s State) string {
	return [...]string{Online: n.Online, Offline: n.Offline, Busy: n.Busy, Stealth: n.Stealth}[s]
}

// Service knows the states of users, and tells them. All methods may be called from any goroutine.
type Service struct {
	bridge  *bridge.Bridge
	cfg     Config
	log     *zap.Logger
	maxBody int
	leave   func() // ends the subscription
	ctx     context.Context
	cancel  context.CancelFunc
	crew    sync.WaitGroup // all goroutines
	ended   chan struct{}  // closed when the presence goroutine has ended
	inbox   inbox
	table   table
	changes changes
	counters

	// The presence goroutine alone uses these.
	elsewhere *elsewhere // nil where there are no other servers
	calls     calls
	cache     cache
	watchers  watchers
	ticks     ticks
	closing   bool
}

// subscriber is the method of a usermgr.UserManager that presence needs.
type subscriber interface {
	Subscribe(usermgr.Events) (unsubscribe func())
}

// New returns a service for the users of b's user manager and the clients of b's engine. Call it before the engine runs, once for a bridge.
// It panics for a second call, after Run, for a nil bridge, for a user manager without the method Subscribe (see usermgr.Manager), for
// a name of a notice that is longer than 65,535 bytes or not UTF-8, and for more than one Config. Call Close when the service is no longer needed.
func New(b *bridge.Bridge, cfg ...Config) *Service {
	switch {
	case b == nil:
		panic("rollcall: presence.New needs a bridge: without one no user would come")
	case len(cfg) > 1:
		panic("rollcall: presence.New takes one Config")
	}
	users := b.Users()
	if _, ok := users.(subscriber); !ok {
		panic("rollcall: presence.New needs a user manager with the method Subscribe: without it no user would come")
	}
	s := &Service{bridge: b, ended: make(chan struct{})}
	if len(cfg) == 1 {
		s.cfg = cfg[0]
	}
	s.cfg.setDefaults()
	for state := Online; state <= Stealth; state++ {
		if _, err := protocol.AppendStringMap(nil, map[string]string{"name": s.cfg.Names.name(state)}); err != nil {
			panic("rollcall: presence.New: a name of a notice: " + err.Error())
		}
	}
	s.log = logging.OrDefault(s.cfg.Logger)
	s.maxBody = seam.EngineOf(b.Engine()).(seam.Engine[*engine.Conn, *engine.SendOptions]).MaxBody()
	b.Engine().Handle(protocol.TypePresence, s.requested)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.inbox.init()
	s.table.init(s)
	s.changes.service = s
	s.calls.init(s)
	s.cache.init(s.cfg.Cache)
	s.watchers.init(s)
	s.ticks.init(s)
	events := usermgr.Events{Online: s.table.online, Offline: s.table.offline, Connected: s.table.connected}
	if t := seam.TellerOf(b); t != nil {
		s.elsewhere = newElsewhere(s, t)
		events.Left = s.table.left
	}
	go s.run()
	s.leave = seam.SubscribeTrusted(users, events)
	s.elsewhere.begin()
	return s
}

// Set chooses a user's state, as the user's own client may: Online, Busy or Stealth. It returns when that is stored. Into Stealth it acts at
// once, also if an error says later that it could not be stored; then the service goes on trying. Out of Stealth, and between Online
// and Busy, it acts when it is stored, and an error says that nothing has changed, or ctx has ended first.
//
// A later choice for the same user takes the place of one that is not stored yet; both return when the later one is stored.
func (s *Service) Set(ctx context.Context, userID string, wanted State) error {
	if err := protocol.CheckUserID(userID); err != nil {
		return err
	}
	if !choosable(wanted) {
		return errState
	}
	stored := make(chan error, 1)
	s.table.choose(userID, wanted, func(err error) { stored <- err })
	return wait(s, ctx, stored)
}

// Visible returns the state that others see. It asks no store: a user whose record is not loaded yet is Offline.
func (s *Service) Visible(userID string) State { return s.table.visible(userID) }

// VisibleTo reports whether asker may see that a user is online. It is for bridge.Config.Visible, so that the answer to
// protocol.TypeWhoIsOnline does not name users in Stealth. It asks neither store nor Contacts; who may ask is for bridge.Config.MayAskWhoIsOnline.
func (s *Service) VisibleTo(asker, userID string) bool {
	return asker == userID || s.Visible(userID) != Offline
}

// Get returns the states of users as asker may see them, as Query answers them (rule P25 of docs/contract.md), in the order of the IDs. Users
// that asker may not see, and users that are not known, are left out. The asker "" is the server, which sees what every user may see.
// An error says that Contacts or Store have failed, that ctx has ended, or that the service is closed.
func (s *Service) Get(ctx context.Context, asker string, userIDs ...string) ([]Presence, error) {
	type answer struct {
		all []Presence
		err error
	}
	answered := make(chan answer, 1)
	s.inbox.put(func() {
		s.query(asker, userIDs, func(all []Presence, err error) { answered <- answer{all, err} })
	})
	a, err := waitFor(s, ctx, answered)
	if err != nil {
		return nil, err
	}
	return a.all, a.err
}

// ContactsChanged says that Contacts answer otherwise than before about a user and some others. The next tick tells them what follows. A program
// calls it after it has changed what its Contacts answer.
func (s *Service) ContactsChanged(userID string, others ...string) {
	s.table.recheck(userID, others)
	s.elsewhere.contactsChanged(userID, others)
}

// Close ends the service: no more is told, and what is not stored yet is stored. It waits for that, and until no method of Store and
// Contacts, and no Changed, runs any more, or until ctx ends, whose error it returns then. Call it after the user manager's Close.
func (s *Service) Close(ctx context.Context) error {
	s.leave()
	s.elsewhere.end()
	s.inbox.put(s.finish)
	select {
	case <-s.ended:
	case <-ctx.Done():
	}
	s.cancel()
	defer logging.End(s.log)
	idle := make(chan struct{})
	go func() {
		defer close(idle)
		<-s.ended
		s.crew.Wait()
	}()
	select {
	case <-idle:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wait returns what comes, or why nothing can.
func wait(s *Service, ctx context.Context, ch <-chan error) error {
	came, err := waitFor(s, ctx, ch)
	if err != nil {
		return err
	}
	return came
}

func waitFor[T any](s *Service, ctx context.Context, ch <-chan T) (v T, err error) {
	select {
	case v = <-ch:
		return v, nil
	case <-ctx.Done():
		return v, ctx.Err()
	case <-s.ended:
	}
	select {
	case v = <-ch: // it has come at the last moment
		return v, nil
	default:
		return v, protocol.Errorf(protocol.ServerStopping, "presence has ended")
	}
}
