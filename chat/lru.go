package chat

import "container/list"

// lru keeps values by key, and forgets the ones that were not used for the longest time when their weights exceed most in all.
type lru[K comparable, V any] struct {
	most   int
	weight int
	byKey  map[K]*list.Element
	recent list.List // of *entry; the one used last is at the front
}

type entry[K comparable, V any] struct {
	key    K
	value  V
	weight int
}

func (l *lru[K, V]) get(k K) (v V, found bool) {
	e := l.byKey[k]
	if e == nil {
		return v, false
	}
	l.recent.MoveToFront(e)
	return e.Value.(*entry[K, V]).value, true
}

func (l *lru[K, V]) put(k K, v V, weight int) {
	l.drop(k)
	if l.byKey == nil {
		l.byKey = make(map[K]*list.Element)
	}
	l.byKey[k] = l.recent.PushFront(&entry[K, V]{k, v, weight})
	for l.weight += weight; l.weight > l.most && l.recent.Len() > 1; {
		l.drop(l.recent.Back().Value.(*entry[K, V]).key)
	}
}

func (l *lru[K, V]) drop(k K) {
	if e := l.byKey[k]; e != nil {
		l.weight -= l.recent.Remove(e).(*entry[K, V]).weight
		delete(l.byKey, k)
	}
}
