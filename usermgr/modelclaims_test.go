package usermgr_test

import (
	"context"
	"sync"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/usermgr"
)

// claimsFunc are claims that a function decides on.
type claimsFunc struct {
	claim    func(ctx context.Context, r usermgr.ClaimRequest) (usermgr.Claimed, error)
	mu       sync.Mutex
	granted  int
	released []usermgr.SessionInfo
}

func (c *claimsFunc) Claim(ctx context.Context, r usermgr.ClaimRequest) (usermgr.Claimed, error) {
	claimed, err := c.claim(ctx, r)
	if err == nil {
		c.mu.Lock()
		c.granted++
		c.mu.Unlock()
	}
	return claimed, err
}

func (c *claimsFunc) Release(_ string, _ uuid.UUID, _ uint64, last usermgr.SessionInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.released = append(c.released, last)
}

// open returns how many claims were granted and not given back.
func (c *claimsFunc) open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.granted - len(c.released)
}

// grantAtOnce are claims that are always granted.
func grantAtOnce() *claimsFunc {
	return &claimsFunc{claim: func(context.Context, usermgr.ClaimRequest) (usermgr.Claimed, error) {
		return usermgr.Claimed{Generation: 1}, nil
	}}
}
