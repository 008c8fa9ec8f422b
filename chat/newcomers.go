package chat

import (
	"context"
	"sync"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/contain"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// newcomers makes users, and sets them up (rule P40). Its lock is held for nothing else.
type newcomers struct {
	service *Service
	mu      sync.Mutex
	done    lru[string, struct{}]    // users who are known to be set up
	under   map[string]chan struct{} // users who are being made; closed when the attempt is over
	slots   chan struct{}            // first logons of which the store is asked at a time
}

const (
	mostDone      = 1_000_000
	mostNewAtOnce = 8
)

func (n *newcomers) init(s *Service) {
	n.service, n.done.most, n.under = s, mostDone, make(map[string]chan struct{})
	n.slots = make(chan struct{}, mostNewAtOnce)
}

// online is usermgr.Events.Online: a first logon makes the user.
func (n *newcomers) online(u usermgr.UserData) {
	s := n.service
	n.mu.Lock()
	_, done := n.done.get(u.UserID)
	_, under := n.under[u.UserID]
	if done || under || s.ctx.Err() != nil {
		n.mu.Unlock()
		return
	}
	over := make(chan struct{})
	n.under[u.UserID] = over
	s.crew.Add(1) // by a logon, which Close comes after
	n.mu.Unlock()
	go func() {
		defer s.crew.Done()
		defer n.leave(u.UserID, over)
		select {
		case n.slots <- struct{}{}:
			defer func() { <-n.slots }()
		case <-s.ctx.Done():
			return
		}
		if err := n.firstLogon(u.UserID); err != nil && s.ctx.Err() == nil {
			s.failures.Add(1)
			s.log.Warn("chat: a user was not set up, the next logon tries again", zap.String("user", u.UserID), zap.Error(err))
		}
	}()
}

// firstLogon makes a user who logs on. With RequireCreated it only sets up one who was made before.
func (n *newcomers) firstLogon(userID string) error {
	return n.service.withStore(func(ctx context.Context) error {
		if n.service.cfg.RequireCreated {
			all, err := n.service.cfg.Store.Users(ctx, []string{userID})
			if err != nil || !all[0].Exists {
				return err
			}
		}
		_, err := n.create(ctx, NewUser{UserID: userID})
		return err
	})
}

func (n *newcomers) leave(userID string, over chan struct{}) {
	n.mu.Lock()
	delete(n.under, userID)
	n.mu.Unlock()
	close(over)
}

// await waits while a user is being made, so that a user who has just logged on can be written to.
func (n *newcomers) await(ctx context.Context, userID string) error {
	n.mu.Lock()
	over := n.under[userID]
	n.mu.Unlock()
	if over == nil {
		return nil
	}
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// CreateUser makes a user, unless there is one with that ID, and has Config.SetUp called until it has returned nil once. It reports whether the
// user was new. An error says that the user is not made or not set up, and that the call must be repeated, as by a consumer of events
// that does not acknowledge one.
func (s *Service) CreateUser(ctx context.Context, u NewUser) (created bool, err error) {
	if err := protocol.CheckUserID(u.UserID); err != nil {
		return false, protocol.Errorf(protocol.Incomplete, "%v", err)
	}
	for {
		if err := s.users.await(ctx, u.UserID); err != nil {
			return false, err
		}
		over := make(chan struct{})
		s.users.mu.Lock()
		if _, under := s.users.under[u.UserID]; under {
			s.users.mu.Unlock()
			continue
		}
		s.users.under[u.UserID] = over
		s.users.mu.Unlock()
		defer s.users.leave(u.UserID, over)
		return s.users.create(ctx, u)
	}
}

// create makes and sets up a user; the caller has the user in under.
func (n *newcomers) create(ctx context.Context, u NewUser) (created bool, err error) {
	s := n.service
	var setUp bool
	err = s.cfg.Store.UpdateUser(ctx, u.UserID, func(o *User) error {
		created, setUp = !o.Exists, o.SetUp
		if created {
			o.Exists, o.Created = true, now()
		}
		if u.Settings != nil && !o.SetUp {
			o.Settings = *u.Settings
		}
		if s.cfg.SetUp == nil {
			o.SetUp = true
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	if created {
		s.handlers.created(u.UserID)
	}
	if !setUp && s.cfg.SetUp != nil {
		if err := s.setUp(ctx, u); err != nil {
			return created, err
		}
		err := s.cfg.Store.UpdateUser(ctx, u.UserID, func(o *User) error {
			o.SetUp = true
			return nil
		})
		if err != nil {
			return created, err
		}
	}
	n.mu.Lock()
	n.done.put(u.UserID, struct{}{}, 1)
	n.mu.Unlock()
	return created, nil
}

// setUp calls Config.SetUp. A panic is an error.
func (s *Service) setUp(ctx context.Context, u NewUser) (err error) {
	contain.Apart(func() { err = s.cfg.SetUp(ctx, u) }, func(why any) {
		s.panics.Add(1)
		err = contain.Error("SetUp", why)
	})
	return err
}
