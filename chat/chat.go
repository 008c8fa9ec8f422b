package chat

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/logging"
	"github.com/rollcall-go/rollcall/internal/seam"
	"github.com/rollcall-go/rollcall/presence"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Config holds the settings of a Service. Store is required; with the zero value of the others, friends write to each other and users make
// groups of up to 200.
type Config struct {
	// Store keeps what must not be forgotten: NewMemory for tests, or one of chat/sqlstore. The program closes it, after the service.
	Store Store
	// Presence has the settings of package presence, which the service starts. Its Contacts are the service's. Its Store is Store, unless set.
	Presence presence.Config
	// Limits bound what users may have and send.
	Limits Limits
	// RecentHistory is how many messages the reply to Join has at most. 0 means 50; negative means none.
	RecentHistory int
	// RecallWindow is how long after its time a message may be recalled. 0 means 2 minutes; negative means never.
	RecallWindow time.Duration
	// Retention is how long messages are kept: older ones are removed from Store within a tenth of it, a minute at most, but a conversation's
	// last message stays. 0 and negative mean for ever. Servers over one store should have the same.
	Retention time.Duration
	// Strangers lets users write to users who are not their friends.
	Strangers bool
	// RequireCreated: users are made by Service.CreateUser alone. Otherwise a user is made by the first logon, too.
	RequireCreated bool
	// SetUp, when set, is called for each new user until it has returned nil, and after that not again; for one user not twice at a time in
	// a process. A process that dies between that nil and its note in the store calls it once more, so that SetUp must bear to be repeated.
	// A panic counts as an error.
	SetUp func(ctx context.Context, u NewUser) error
	// Allow, when set, is asked before each request of a client. An error refuses it: a *protocol.CloseError with its own code, another one with
	// Refused. It runs on a goroutine of the user's, in the order of the requests, and may block; a panic refuses.
	Allow func(ctx context.Context, a Action) error
	// Handlers are told what happens.
	Handlers Handlers
	// StoreTimeout is how long a call of Store, SetUp or Allow may take. 0 means 5 s; negative means for ever.
	StoreTimeout time.Duration
	// Logger gets messages for operators. Nil means that warnings and errors go to standard error.
	Logger *zap.Logger
}

// Limits are limits of a Service. For each 0 means the default.
type Limits struct {
	// Members is the largest number of members that users may give a group, and that a group has of which its maker says nothing. The
	// default is 200; the program may give a group up to 10,000.
	Members int
	// Groups is how many groups a user may be in: 500.
	Groups int
	// Contacts is how many friends a user may have: 5,000. Besides, 100 requests of a user may wait for others, and 100 for the user.
	Contacts int
	// Notices is the largest maximum of members with which a group's members see each other's states, and come and go: 200; negative means none.
	Notices int
	// Content is the largest content of a message, in bytes: 65,536; at most 262,144.
	Content int
	// Queue is how many requests may wait in all: 10,000. QueueBytes is how many bytes they may have: 64 MiB. A user may have 64.
	Queue, QueueBytes int
	// Rosters is how many members of groups are kept in memory in all: 1,000,000, some 60 MB.
	Rosters int
	// NewGroups and NewRequests are how many groups a user may make in an hour, and how many users ask to be friends: 20 and 100. Negative
	// means no limit.
	NewGroups, NewRequests int
}

// NewUser announces a user.
type NewUser struct {
	UserID string
	// Settings are the user's first settings, for a user who is not set up yet. Nil means DefaultSettings for a user who is new.
	Settings *Settings
	// Info is for SetUp; it is not stored.
	Info map[string]string
}

// Action is what a client asks for.
type Action struct {
	UserID  string
	Type    uint16 // protocol.TypeContacts, TypeGroup or TypeChat
	Op      uint8  // such as protocol.ChatSend
	Fields  map[string]string
	Content []byte // valid until Allow returns
}

const (
	defaultRecent  = 50
	defaultRecall  = 2 * time.Minute
	defaultTimeout = 5 * time.Second
	ceilingMembers = 10_000 // of a group
	ceilingContent = 256 << 10
	mostPending    = 100 // requests of a user that wait for others, and of others that wait for the user
	mostPerUser    = 64  // requests that are not answered
)

func (c *Config) setDefaults() {
	setDefault(&c.RecentHistory, defaultRecent)
	c.RecentHistory = max(c.RecentHistory, 0)
	setDefault(&c.RecallWindow, defaultRecall)
	setDefault(&c.StoreTimeout, defaultTimeout)
	l := &c.Limits
	setDefault(&l.Members, 200)
	setDefault(&l.Groups, 500)
	setDefault(&l.Contacts, 5000)
	setDefault(&l.Notices, 200)
	setDefault(&l.Content, 64<<10)
	setDefault(&l.Queue, 10_000)
	setDefault(&l.QueueBytes, 64<<20)
	setDefault(&l.Rosters, 1_000_000)
	setDefault(&l.NewGroups, 20)
	setDefault(&l.NewRequests, 100)
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// Service keeps users' contacts and groups, and stores and delivers their messages. All methods may be called from any goroutine, but not from
// handlers of usermgr.Events, which must not wait. Methods that act for a user take its ID as by or from, and refuse as the user's client
// would be refused, with a *protocol.CloseError. With Server as that ID there are no rights to be checked.
type Service struct {
	bridge   *bridge.Bridge
	cfg      Config
	policy   policy
	log      *zap.Logger
	presence *presence.Service
	maxBody  int
	leave    func() // ends the subscription
	ctx      context.Context
	cancel   context.CancelFunc

	lanes     lanes      // clients' requests
	writers   []*writer  // all that has an order in a conversation
	elsewhere *elsewhere // nil where there are no other servers
	rosters   rosters
	users     newcomers
	quotas    quotas
	handlers  handlers
	crew      sync.WaitGroup // all goroutines but the lanes' and the writers'
	counters
}

// New returns a service for the users of b's user manager and the clients of b's engine, and starts package presence for them. Call it before
// the engine runs, once for a bridge. The error says which setting is wrong. It panics as presence.New does. Call Close when the service is no
// longer needed.
func New(b *bridge.Bridge, cfg Config) (*Service, error) {
	if b == nil {
		panic("rollcall: chat.New needs a bridge: without one no user would come")
	}
	cfg.setDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := &Service{
		bridge: b, cfg: cfg, log: logging.OrDefault(cfg.Logger),
		policy:  policy{strangers: cfg.Strangers, recallWindow: cfg.RecallWindow},
		maxBody: seam.EngineOf(b.Engine()).(seam.Engine[*engine.Conn, *engine.SendOptions]).MaxBody(),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.lanes.init(s)
	s.rosters.init(s)
	s.users.init(s)
	s.quotas.init(cfg.Limits)
	s.handlers.service = s
	s.handlers.add(cfg.Handlers)
	for range max(cfg.Store.Writers(), 1) {
		s.writers = append(s.writers, startWriter(s))
	}
	p := cfg.Presence
	p.Contacts = friends{s}
	if p.Store == nil {
		p.Store = cfg.Store
	}
	s.presence = presence.New(b, p)
	s.leave = seam.SubscribeTrusted(b.Users(), usermgr.Events{Online: s.users.online}) // presence.New has checked the type
	s.joinOthers()
	if cfg.Retention > 0 {
		s.crew.Go(s.prune)
	}
	for typ, o := range map[uint16]operations{protocol.TypeContacts: contactOperations, protocol.TypeGroup: groupOperations, protocol.TypeChat: chatOperations} {
		b.Engine().Handle(typ, func(c *engine.Conn, m *protocol.Message) error { return s.requested(c, m, o) })
	}
	return s, nil
}

// Presence returns the presence service.
func (s *Service) Presence() *presence.Service { return s.presence }

// Subscribe adds a set of handlers and returns the function that removes it again.
func (s *Service) Subscribe(h Handlers) (unsubscribe func()) { return s.handlers.add(h) }

// Close ends the service. Further calls are refused with ServerStopping, and further requests of clients with Busy. What was accepted before is
// stored and answered, or answered NotStored, and presence is stored. It waits for that, or until ctx ends, whose error it returns then; what is
// not stored by then is answered NotStored. Call it after the engine and the user manager have ended, and before the store is closed.
func (s *Service) Close(ctx context.Context) error {
	s.leave()
	s.elsewhere.end()
	defer logging.End(s.log)
	ended := make(chan error, 1)
	go func() {
		s.lanes.close()
		for _, w := range s.writers {
			w.close()
		}
		err := s.presence.Close(ctx)
		s.cancel()
		s.crew.Wait()
		ended <- err
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		s.cancel()
		return ctx.Err()
	}
}

// storeContext returns the context of a call of the store.
func (s *Service) storeContext(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.cfg.StoreTimeout < 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, s.cfg.StoreTimeout)
}

func (c *Config) check() error {
	l := &c.Limits
	switch {
	case c.Store == nil:
		return errors.New("rollcall: chat.Config.Store is missing: chat.NewMemory() is one for tests, chat/sqlstore has others")
	case l.Content < 0 || l.Content > ceilingContent:
		return fmt.Errorf("rollcall: chat.Limits.Content is %d, it may be 1 to %d", l.Content, ceilingContent)
	case l.Members < 0 || l.Members > ceilingMembers:
		return fmt.Errorf("rollcall: chat.Limits.Members is %d, it may be 1 to %d", l.Members, ceilingMembers)
	case l.Groups < 0, l.Contacts < 0, l.Queue < 0, l.QueueBytes < 0, l.Rosters < 0:
		return errors.New("rollcall: chat.Limits: Groups, Contacts, Queue, QueueBytes and Rosters may not be negative")
	}
	return nil
}
