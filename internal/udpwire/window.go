package udpwire

// Window tells which of a peer's numbers are new: those of 32 bits wrap around, those of 64 never get so far. The zero value is ready to
// use: the first number may be any.
type Window[N uint32 | uint64] struct {
	seen  uint64 // bit i: last-i has come
	last  N
	begun bool
}

// windowSize is how far behind the last number one may be.
const windowSize = 64

// Take reports whether a number is new, and how many numbers between the last one and it have not come.
func (w *Window[N]) Take(n N) (isNew bool, skipped N) {
	ahead := n - w.last
	switch {
	case !w.begun:
		w.begun, w.last, w.seen = true, n, 1
		return true, 0
	case ahead != 0 && ahead <= ^N(0)>>1:
		if w.last = n; ahead < windowSize {
			w.seen = w.seen<<ahead | 1
		} else {
			w.seen = 1
		}
		return true, ahead - 1
	}
	behind := -ahead
	if behind >= windowSize || w.seen>>behind&1 == 1 {
		return false, 0
	}
	w.seen |= 1 << behind
	return true, 0
}
