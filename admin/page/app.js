// The page of live users. It makes elements and never HTML from text, so that an ID is shown and never taken for markup.
const $ = (selector) => document.querySelector(selector)
const main = $('#main')

// ---- elements

/** Makes an element. Names that begin with "on" are handlers, and undefined or false leaves an attribute out. */
function h(tag, attributes, ...children) {
	if (attributes?.constructor !== Object) [attributes, children] = [{}, [attributes, children]]
	const svg = ['svg', 'polyline', 'line'].includes(tag)
	const e = svg ? document.createElementNS('http://www.w3.org/2000/svg', tag) : document.createElement(tag)
	for (const [name, value] of Object.entries(attributes)) {
		if (name.startsWith('on')) e[name] = value
		else if (value !== undefined && value !== false) e.setAttribute(name, value === true ? '' : value)
	}
	e.append(...children.flat(12).filter((c) => (c ?? false) !== false).map((c) => (c instanceof Node ? c : String(c))))
	return e
}

const handlers = ['onclick', 'onchange', 'onsubmit', 'oninput', 'onpointermove', 'onpointerleave', 'onkeydown', 'onblur']

/** Makes what is shown like what it is to be, and keeps the elements that may stay: with the focus, and what is written and ticked. */
function patch(old, now) {
	if (old.nodeType !== now.nodeType || old.nodeName !== now.nodeName || old.dataset?.key !== now.dataset?.key) {
		old.replaceWith(now)
		return
	}
	if (old.nodeType === Node.TEXT_NODE) {
		if (old.data !== now.data) old.data = now.data
		return
	}
	for (const { name } of [...old.attributes]) if (!now.hasAttribute(name)) old.removeAttribute(name)
	for (const { name, value } of [...now.attributes]) if (old.getAttribute(name) !== value) old.setAttribute(name, value)
	for (const name of handlers) old[name] = now[name]
	if (now.hasAttribute('data-own')) return // its content is its own
	const are = [...old.childNodes], to = [...now.childNodes]
	to.forEach((n, i) => (are[i] ? patch(are[i], n) : old.append(n)))
	are.slice(to.length).forEach((n) => n.remove())
}

const hidden = /[\p{C}\p{Zl}\p{Zp}\u034f\u115f\u1160\u3164\uffa0\u{e0000}-\u{e0fff}]/gu

/** Text of others: apart from what is around it, and with its invisible characters visible. */
function text(s) {
	const parts = []
	let from = 0
	for (const m of s.matchAll(hidden)) {
		const code = m[0].codePointAt(0).toString(16).toUpperCase().padStart(4, '0')
		parts.push(s.slice(from, m.index), h('span', { class: 'esc' }, 'U+' + code))
		from = m.index + m[0].length
	}
	return h('bdi', ...parts, s.slice(from))
}

const link = (href, ...children) => h('a', { href }, ...children)
const note = (...children) => h('p', { class: 'note' }, ...children)
const button = (label, onclick, a = {}) => h('button', { type: 'button', onclick, ...a }, label)
const danger = { class: 'danger' }

/** A table: heads are [name, class], rows are [key, ...cells]. With the class "cards" a phone shows a card for each row. */
function table(heads, rows, cls = 'cards') {
	return h('div', { class: 'scroll' }, h('table', { class: cls }, h('thead', h('tr', heads.map(([name, c]) => h('th', { class: c === 'n' && c }, name)))),
		h('tbody', rows.map(([key, ...cells]) => h('tr', { 'data-key': key }, cells.map((c, i) => h('td', { 'data-label': heads[i][0], class: heads[i][1] }, c)))))))
}

const userLink = (id) => link('#/user/' + encodeURIComponent(id), text(id))
const connLink = (n) => link('#/conn/' + n, '#' + n)

// ---- numbers and times

const whole = new Intl.NumberFormat('en')
function num(n) {
	if (n >= 1e6) return (n / 1e6).toFixed(n < 1e7 ? 2 : 1) + ' M'
	return n >= 100 || n === Math.trunc(n) ? whole.format(Math.round(n)) : n.toFixed(n < 10 ? 2 : 1).replace(/\.?0+$/, '')
}
function size(n) {
	for (const unit of ['B', 'kB', 'MB', 'GB', 'TB']) {
		if (n < 1000 || unit === 'TB') return (unit === 'B' || n >= 100 ? Math.round(n) : n.toFixed(1)) + ' ' + unit
		n /= 1000
	}
}
function span(s) {
	s = Math.max(0, Math.round(s))
	if (s < 60) return s + ' s'
	if (s < 3600) return Math.floor(s / 60) + ' m' + (s % 60 ? ' ' + (s % 60) + ' s' : '')
	if (s < 86400) return Math.floor(s / 3600) + ' h' + (s % 3600 >= 60 ? ' ' + Math.floor((s % 3600) / 60) + ' m' : '')
	return Math.floor(s / 86400) + ' d ' + Math.floor((s % 86400) / 3600) + ' h'
}
let skew = 0 // of this machine's clock against the server's
const since = (t) => span((Date.now() + skew - Date.parse(t)) / 1000)
const at = (t) => h('time', { datetime: t, title: new Date(t).toLocaleString() }, new Date(t).toLocaleTimeString())

// ---- the API

let token = ''
class Fault extends Error {
	constructor(status, message) {
		super(message)
		this.status = status
	}
}
async function api(path, body = undefined) {
	const headers = token ? { Authorization: 'Bearer ' + token } : {}
	if (body) Object.assign(headers, { 'Content-Type': 'application/json', 'Rollcall-Admin': '1' })
	let r
	try {
		r = await fetch('api/v1/' + path, { method: body ? 'POST' : 'GET', headers, body: body && JSON.stringify(body) })
	} catch {
		throw new Fault(0, 'The server does not answer. Trying again …')
	}
	const v = await r.json().catch(() => ({ error: 'the answer cannot be read' }))
	if (!r.ok) throw new Fault(r.status, v.error)
	return v
}

function banner(s) {
	const e = $('#banner')
	if (e.textContent !== s) e.textContent = s
	e.hidden = !s
}
let toasts = 0
function toast(...parts) {
	const n = ++toasts
	$('#toast').replaceChildren(...parts)
	setTimeout(() => n === toasts && $('#toast').replaceChildren(), 8000)
}

// ---- the state of the server, every two seconds
let overview
let trouble // the sessions in trouble, asked for so often that the scans take a fiftieth of the time
let troubleAt = 0
let now = 0 // counts views, so that an answer for one that was left is dropped
const mayAct = () => overview?.may === 'act'

async function status() {
	if (document.hidden) return
	try {
		const v = await api('overview')
		skew = Date.parse(v.at) - Date.now()
		overview = v
		banner('')
		const mode = $('#mode')
		mode.hidden = mayAct()
		mode.textContent = 'Read only'
		if (view.path === '' && Date.now() - troubleAt > Math.max(5000, 50 * (trouble?.took ?? 0))) {
			troubleAt = Date.now()
			api('sessions?trouble=1&limit=100').then((t) => { trouble = t; if (view.path === '') draw() }, () => {})
		}
		if (view.path === '') draw()
	} catch (e) {
		banner(e.status ? 'The server refuses: ' + e.message : e.message)
	}
}

// ---- charts

let range = 'minute'
let chosen = false // whether the range was chosen
const readAt = new Map() // where a chart is read, by its title; steps from the end

const nice = (n) => {
	if (n <= 0) return 1
	const power = 10 ** Math.floor(Math.log10(n))
	return [1, 2, 5, 10].map((f) => f * power).find((f) => f >= n)
}

/** A chart. lines are [name, numbers, link]. */
function chart(title, lines, series, format, rest = undefined) {
	const steps = range === 'hour' ? 120 : 60
	const n = lines[0][1].length
	const most = nice(Math.max(0, ...lines.flatMap((l) => l[1])))
	const x = (i) => 600 - ((n - 1 - i) * 600) / (steps - 1)
	const back = Math.min(readAt.get(title) ?? 0, Math.max(0, n - 1))
	const i = n - 1 - back
	const read = (b) => {
		if (b > 0) readAt.set(title, Math.min(b, n - 1))
		else readAt.delete(title)
		draw()
	}
	const plot = h('div', {
		class: 'plot', tabindex: 0, role: 'img',
		'aria-label': title + ', last ' + range + ': ' + lines.map((l) => l[0] + ' ' + (n ? format(l[1][n - 1]) + ' now, at most ' + format(Math.max(...l[1])) : 'not known yet')).join('; ') + '. Arrow keys read earlier values.',
		onpointermove: (e) => {
			const box = e.currentTarget.getBoundingClientRect()
			read(Math.round((1 - (e.clientX - box.left) / box.width) * (steps - 1)))
		},
		onpointerleave: () => read(0), onblur: () => read(0),
		onkeydown: (e) => {
			if (e.key === 'ArrowLeft') read(back + 1)
			else if (e.key === 'ArrowRight') read(back - 1)
			else return
			e.preventDefault()
		},
	},
	h('svg', { viewBox: '0 0 600 100', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
		h('line', { class: 'grid', x1: 0, x2: 600, y1: 0, y2: 0 }), h('line', { class: 'grid', x1: 0, x2: 600, y1: 50, y2: 50 }),
		back > 0 && h('line', { class: 'at', x1: x(i), x2: x(i), y1: 0, y2: 100 }),
		lines.map((l, k) => h('polyline', { class: 's' + Math.min(k, 5), points: l[1].map((v, j) => x(j).toFixed(1) + ',' + (100 - (v * 100) / most).toFixed(1)).join(' ') }))),
	h('span', { class: 'most' }, format(most)),
	n < 2 && h('span', { class: 'none' }, 'not known yet'))
	const when = new Date(Date.parse(series.end) - back * series.step * 1000).toLocaleTimeString()
	return h('section', { class: 'card', 'data-key': title }, h('h2', title), plot,
		h('p', { class: 'times note' }, h('span', span(steps * series.step) + ' ago'), h('span', back > 0 ? 'at ' + when : 'now')),
		h('ul', { class: 'legend' }, lines.map((l, k) => h('li', {},
			h('svg', { viewBox: '0 0 27 8', 'aria-hidden': 'true' }, h('polyline', { class: 's' + Math.min(k, 5), points: '0,4 27,4' })),
			l[2] ? link(l[2], l[0]) : l[0], ' ', h('b', n ? format(l[1][i]) : '–')))), rest)
}

// ---- the views

const add = (counts) => Object.values(counts).reduce((a, b) => a + b, 0)
const last = (a) => (a.length ? a[a.length - 1] : 0)
/** The mean of the last ten seconds: a rate that a person can read. */
const mean = (a) => (a.length ? a.slice(-10).reduce((x, y) => x + y, 0) / Math.min(10, a.length) : 0)

function tile(name, value, href, below, bad = false) {
	return h('li', h('a', { href, class: bad && 'bad' }, h('span', name), h('b', value), h('span', below)))
}

function overviewView() {
	const o = overview
	if (!o) return h('p', 'Loading …')
	if (!chosen) range = o.hour.users.length >= 10 ? 'hour' : 'minute'
	const s = o[range], m = o.minute
	const ends = Object.entries(s.ends).sort((a, b) => Math.max(...b[1]) - Math.max(...a[1]))
	const endLines = ends.slice(0, ends.length > 5 ? 4 : 5).map(([name, v]) => [name, v, '#/ended?code=' + encodeURIComponent(name)])
	if (ends.length > 5) endLines.push(['other codes', s.logons.map((_, i) => ends.slice(4).reduce((a, e) => a + e[1][i], 0)), '#/ended'])
	const slow = trouble?.sessions ?? []
	const waiting = o.engines.reduce((a, e) => a + e.outboundQueue, 0)
	const dropped = mean(m.dropped)
	const pick = (to) => h('button', { type: 'button', 'aria-pressed': String(range === to), onclick: () => { range = to; chosen = true; draw() } }, 'Last ' + to)
	return h('div', {},
		h('h1', 'Overview'),
		h('ul', { class: 'tiles' },
			tile('Users online', num(o.users), '#/sessions', num(o.sessions) + ' sessions'),
			tile('Log-ons', num(mean(m.logons)) + '/s', '#/events', num(o.logons) + ' in all'),
			tile('Ends', num(mean(m.logons.map((_, i) => Object.values(m.ends).reduce((a, e) => a + e[i], 0)))) + '/s', '#/ended', num(add(o.ended)) + ' in all'),
			tile('Messages in', num(mean(m.inMessages)) + '/s', '#/sessions?top=in', size(mean(m.inBytes)) + '/s'),
			tile('Messages out', num(mean(m.outMessages)) + '/s', '#/sessions?top=out', size(mean(m.outBytes)) + '/s'),
			tile('Waits for slow clients', size(waiting), '#/sessions?top=waiting', dropped ? num(dropped) + ' dropped/s' : 'nothing is dropped', dropped > 0),
			tile('In trouble', trouble ? num(slow.length) + (trouble.whole ? '' : '+') : '–', '#/sessions?trouble=1', 'sessions', slow.length > 0)),
		h('p', { class: 'pair' }, pick('minute'), ' ', pick('hour')),
		h('div', { class: 'charts' },
			chart('Online', [['users', s.users, '#/sessions'], ['sessions', s.sessions, '#/sessions']], s, num),
			chart('Log-ons a second', [['log-ons', s.logons, '#/events'], ['refused', s.refused, '#/refused']], s, num),
			chart('Ends a second', endLines.length ? endLines : [['ends', s.logons.map(() => 0), '#/ended']], s, num),
			chart('Messages a second', [['in', s.inMessages, '#/sessions?top=in'], ['out', s.outMessages, '#/sessions?top=out'], ['dropped', s.dropped, '#/sessions?top=dropped']], s, num),
			chart('Bytes a second', [['in', s.inBytes, '#/sessions?top=in'], ['out', s.outBytes, '#/sessions?top=out']], s, size),
			chart('Waits for slow clients', [['bytes', s.waiting, '#/sessions?top=waiting']], s, size)),
		h('h2', 'Who is in trouble'),
		!trouble ? note('Not known yet.') : slow.length === 0 ? h('p', { class: 'good' }, '✓ No session has lost messages, is slow or is silent.')
			: [sessionTable(slow.slice(0, 5), false), h('p', link('#/sessions?trouble=1', 'All in trouble'))],
		h('div', { class: 'charts' },
			h('section', { class: 'card' }, h('h2', 'Why sessions have ended'), countTable(o.ended, 'Code', (n) => '#/ended?code=' + encodeURIComponent(n), 'No session has ended.')),
			h('section', { class: 'card' }, h('h2', 'Who was not let in'), countTable(refusals(o), 'Reason', () => '#/refused', 'No one was refused.'))),
		o.engines.map(engineCard))
}

/** The refusals of all parts, by part and reason. */
function refusals(o) {
	const all = {}
	for (const e of o.engines) {
		for (const [why, n] of Object.entries(e.refused)) all['connection: ' + why] = (all['connection: ' + why] ?? 0) + n
		for (const [why, n] of Object.entries(e.logons?.refused ?? {})) all['log-on: ' + why] = (all['log-on: ' + why] ?? 0) + n
	}
	if (o.engines.length === 0) for (const [why, n] of Object.entries(o.refused)) all['log-on: ' + why] = n
	return all
}

function countTable(counts, head, to, none) {
	const rows = Object.entries(counts).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1])
	if (!rows.length) return note(none)
	return table([[head], ['Since the start', 'n']], rows.map(([name, n]) => [name, link(to(name), name), num(n)]), 'counts')
}

function engineCard(e) {
	const faults = [['handler panics', e.handlerPanics], ['handler errors', e.handlerErrors], ['stuck event loops', e.stalls], ['authenticator panics', e.logons?.authenticatorPanics ?? 0]].filter((f) => f[1] > 0)
	return h('section', { class: 'card', 'data-key': 'engine ' + e.name }, h('h2', 'Engine ', text(e.name)),
		definitions(
			['Listens on', e.addrs.join(', ') || '–'],
			['Connections', num(e.open) + ' open: ' + num(e.bound) + ' let in, ' + num(e.accepted) + ' without a first message, ' + num(e.verifying) + ' being checked, ' + num(e.closing) + ' closing; ' + num(e.acceptedTotal) + ' since the start, ' + num(e.probes) + ' sent nothing'],
			['By transport', Object.entries(e.transports).filter(([, n]) => n > 0).flatMap(([name, n], i) => [i ? ', ' : '', link('#/sessions?via=' + encodeURIComponent(name), name), ' ' + num(n)]), Object.values(e.transports).every((n) => !n) && '–'],
			e.logons && ['Logging on', num(e.logons.loggingOn) + ', of which ' + num(e.logons.authenticating) + ' are being authenticated; ' + num(e.handshaking) + ' in a handshake, ' + num(e.handshakesWaiting) + ' wait for one'],
			['Waiting', size(e.inboundQueue) + ' to be handled, ' + size(e.outboundQueue) + ' to be sent'],
			['Banned addresses', num(e.bans)],
			e.lost > 0 && ['Lost datagrams', num(e.lost)],
			['Faults', faults.length ? h('span', { class: 'bad' }, '⚠ ' + faults.map((f) => num(f[1]) + ' ' + f[0]).join(', ')) : 'none']))
}

function troubleMarks(s) {
	const says = { dropped: 'lost messages', waiting: 'slow', silent: 'silent' }
	return (s.trouble ?? []).map((t) => h('span', { class: 'trouble' }, says[t] ?? t))
}

const flow = (t) => num(t.messages) + ' · ' + size(t.bytes)
const columns = (...names) => names.map((n) => [n, n === 'User' ? 'user' : ['Address', 'Via', 'Trouble', 'Ended', 'Code'].includes(n) ? undefined : 'n'])

function sessionTable(all, pick) {
	const heads = columns('User', 'Address', 'Via', 'Device', 'Online for', 'Last message', 'In', 'Out', 'Dropped', 'Waits', 'Trouble')
	if (pick) heads.unshift(['Pick', 'check'])
	return table(heads, all.map((s) => [s.conn,
		...(pick ? [h('input', { type: 'checkbox', 'aria-label': 'Pick ' + s.user, onchange: (e) => { e.target.checked ? picked.set(s.conn, s.user) : picked.delete(s.conn); draw() } })] : []),
		[userLink(s.user), [s.tag, s.userTag].filter(Boolean).map((t) => [' ', h('span', { class: 'tag' }, text(t))])],
		link('#/conn/' + s.conn, text(s.address || '#' + s.conn)), s.via, s.device, since(s.logonTime), since(s.lastMessage) + ' ago', flow(s.in), flow(s.out),
		s.dropped.messages ? num(s.dropped.messages) : '', s.waitingIn || s.waitingOut ? size((s.waitingIn ?? 0) + (s.waitingOut ?? 0)) : '', troubleMarks(s)]))
}

const picked = new Map() // user IDs by connection

const tops = { in: 'received most', out: 'sent most', dropped: 'lost most messages', waiting: 'most waits', age: 'longest online' }

function go(path, parameters) {
	const p = new URLSearchParams(Object.entries(parameters).filter(([, v]) => v))
	location.hash = '#/' + path + (p.size ? '?' + p : '')
}

async function sessionsView(p) {
	const q = p.get('q')
	const v = await api('sessions?' + p)
	const field = (label, name, a) => h('label', label, h('input', { name, value: p.get(name) ?? '', autocomplete: 'off', ...a }))
	const order = p.get('top') ?? ''
	const submit = (e) => {
		e.preventDefault()
		const f = new FormData(e.currentTarget), g = (n) => String(f.get(n) ?? '')
		go('sessions', g('top') ? { top: g('top') } : { device: g('device'), via: g('via'), tag: g('tag'), idle: g('idle'), trouble: f.get('trouble') ? '1' : '' })
	}
	return () => h('div', {},
		h('h1', q ? ['Search for ', text(q)] : order ? 'Sessions: ' + (tops[order] ?? order) : p.get('trouble') ? 'Sessions in trouble' : 'Sessions'),
		q === null && h('form', { class: 'bar', onsubmit: submit, 'data-key': 'filters' + p },
			h('label', 'Order', h('select', { name: 'top' }, h('option', { value: '' }, 'none: all, by pages'), Object.entries(tops).map(([k, t]) => h('option', { value: k, selected: k === order }, t)))),
			field('Device class', 'device', { type: 'number', min: 0, max: 65535 }), field('Via', 'via', { type: 'text' }), field('Tag', 'tag', { type: 'text' }),
			field('Without a message for (s)', 'idle', { type: 'number', min: 0 }),
			h('label', { class: 'check' }, h('input', { type: 'checkbox', name: 'trouble', checked: p.get('trouble') === '1' }), 'in trouble'),
			h('button', 'Show'), button('Refresh', () => load(true))),
		v.exact && h('p', 'This very user is online: ', h('b', userLink(v.exact.user)), ', ' + v.exact.sessions.length + (v.exact.sessions.length === 1 ? ' session' : ' sessions')),
		q !== null && !v.exact && h('p', 'No user with exactly this ID is online. ', link('#/user/' + encodeURIComponent(q), 'Show how it ended, or lift a ban')),
		mayAct() && picked.size > 0 && h('p', h('button', { type: 'button', class: 'danger', onclick: () => askKick({ users: [...new Set(picked.values())] }) }, 'Throw out ' + new Set(picked.values()).size + ' picked …')),
		v.sessions.length ? sessionTable(v.sessions, mayAct()) : note(v.whole ? 'There are none.' : 'None so far.'),
		note(num(v.sessions.length) + (v.sessions.length === 1 ? ' session' : ' sessions') +
			(v.next || order ? '' : v.whole ? ', which is all' : '; there are more, or not all could be looked at in time: ask for less') + (v.visited ? ', of ' + num(v.visited) + ' looked at in ' + num(v.took) + ' ms' : '')),
		v.next && h('p', link('#/sessions?' + with_(p, 'cursor', v.next), v.sessions.length ? 'Next page' : 'Go on looking')))
}

function with_(p, name, value) {
	const q = new URLSearchParams(p)
	q.set(name, value)
	return q
}

const definitions = (...rows) => h('dl', rows.filter(Boolean).map(([name, ...value]) => [h('dt', name), h('dd', ...value)]))
const trafficText = (t) => num(t.messages) + ' messages, ' + size(t.bytes)

async function userView(id) {
	const v = await api('user?id=' + encodeURIComponent(id))
	return () => h('div', {},
		h('h1', 'User ', text(id)),
		definitions(['State', v.online ? h('span', { class: 'good' }, '● online for ' + since(v.since)) : h('span', { class: 'bad' }, '○ offline')],
			v.online && ['Received', trafficText(v.in)], v.online && ['Sent', trafficText(v.out)], v.online && v.dropped.messages > 0 && ['Dropped', h('span', { class: 'bad' }, trafficText(v.dropped))],
			v.tag && ['Tag', text(v.tag)]),
		mayAct() && h('p', v.online && button('Throw out …', () => askKick({ user: id }), danger), ' ',
			!v.online && button('Keep out …', () => askKick({ user: id, offline: true })), ' ',
			button('Lift a ban', () => unban(id))),
		v.sessions.length > 0 && [h('h2', 'Sessions'), sessionTable(v.sessions, false)],
		fieldsOf(v.sessions),
		h('h2', 'Events'), eventList(),
		h('h2', 'How sessions have ended'), endedTable(v.ended))
}

const fieldsOf = (sessions) => sessions.filter((s) => s.fields).map((s) => [h('h2', 'Fields of ', connLink(s.conn)), definitions(...Object.entries(s.fields).map(([k, t]) => [k, text(t)]))])

async function connView(n) {
	let v
	try {
		v = await api('conns/' + n)
	} catch (e) {
		if (e.status !== 404) throw e
		return () => h('div', h('h1', 'Connection #' + n), h('p', 'It is not open any more. ', link('#/ended', 'Ended sessions')))
	}
	const s = v.session
	return () => h('div', {},
		h('h1', 'Connection #' + v.conn),
		definitions(['User', v.user ? userLink(v.user) : 'none yet'], ['Address', text(v.address || '–')], ['Via', v.via], v.engine && ['Engine', text(v.engine)],
			v.tls && ['TLS', [v.tls.version, v.tls.cipher, v.tls.protocol, v.tls.serverName, v.tls.certificate].filter(Boolean).map((t, i) => [i ? ', ' : '', text(t)])],
			['Waits', size(v.waitingIn) + ' to be handled, ' + size(v.waitingOut) + ' to be sent'],
			s && ['Device class', s.device], s && ['Online for', since(s.logonTime)], s && ['Last sign of life', since(s.lastActive) + ' ago'], s && ['Last message', since(s.lastMessage) + ' ago'],
			s && ['Received', trafficText(s.in)], s && ['Sent', trafficText(s.out)], s && s.dropped.messages > 0 && ['Dropped', trafficText(s.dropped)],
			s && s.trouble && ['Trouble', troubleMarks(s)]),
		s && fieldsOf([s]),
		s && mayAct() && h('p', button('Throw this session out …', () => askKick({ conn: v.conn, user: v.user }), danger)))
}

function endedTable(all) {
	if (!all.length) return note('None is remembered.')
	return table(columns('User', 'Ended', 'Code', 'Address', 'Via', 'Was online for', 'In', 'Out', 'Dropped'), all.map((s) => [s.conn, userLink(s.user),
		[at(s.at), ', ' + since(s.at) + ' ago'], link('#/ended?code=' + s.code, s.why + ' (' + s.code + ')'), text(s.address || '#' + s.conn), s.via,
		span((Date.parse(s.at) - Date.parse(s.logonTime)) / 1000), flow(s.in), flow(s.out), s.dropped.messages ? num(s.dropped.messages) : '']))
}

async function endedView(p) {
	const code = p.get('code') ?? ''
	const v = await api('closed?limit=200&' + p)
	const codes = Object.keys(overview?.ended ?? {}).sort()
	if (code && !codes.includes(code)) codes.push(code)
	return () => h('div', h('h1', 'Ended sessions'),
		h('div', { class: 'bar' }, h('label', 'Code', h('select', { onchange: (e) => go('ended', { code: e.target.value }) },
			h('option', { value: '' }, 'any'), codes.map((c) => h('option', { value: c, selected: c === code }, c)))), button('Refresh', () => load(true))),
		endedTable(v.closed), note(v.whole ? 'These are all that are remembered.' : 'The last ' + v.closed.length + '.'))
}

function refusedView() {
	if (!overview) return h('p', 'Loading …')
	return h('div', h('h1', 'Who was not let in'), note('By reason, since the start. The log of the server has the addresses.'),
		countTable(refusals(overview), 'Reason', () => '#/refused', 'No one was refused.'))
}

function eventsView() {
	return h('div', h('h1', 'Events'),
		h('p', h('button', { type: 'button', 'aria-pressed': String(paused), onclick: () => { paused = !paused; draw() } }, paused ? 'Go on' : 'Pause'), ' ',
			h('span', { class: 'note' }, leftOut ? num(leftOut) + ' events were left out: more come than can be shown.' : missed ? 'Some events before are missing.' : '')),
		eventList())
}

// ---- events
let source
let wanted = '' // the query of the stream
let paused = false, leftOut = 0, missed = false
let arrived = [], listed = [] // those that come, and those that are shown, the latest first
let painting = false
const most = 200
const shownKinds = 'connected,disconnected,pushedOut,ignored,timedOut,expired,tagged,userTagged'

function eventList() {
	return h('ol', { class: 'events', id: 'events', 'data-own': true, 'data-key': 'events' + wanted, 'aria-label': 'Events, the latest first' }, listed.map(eventItem))
}

const says = { connected: 'logged on', disconnected: 'ended', pushedOut: 'is pushed out', ignored: 'was refused: is online already', timedOut: 'fell silent', expired: 'was idle for too long', tagged: 'session tagged', userTagged: 'tagged' }
function eventItem(e) {
	return h('li', at(e.at), h('b', userLink(e.user)), says[e.kind] ?? e.kind, e.why && [': ', link('#/ended?code=' + e.code, e.why)], e.by && [' by ', text(e.by)],
		(e.tag !== undefined || e.old) && [' ', text(e.old ?? ''), ' → ', text(e.tag ?? '')], e.session && [' ', e.kind === 'connected' ? connLink(e.session.conn) : '#' + e.session.conn, ' ', text(e.session.address)])
}

/** Opens the stream that the view wants, or none. A hidden page has none. */
function watch(query) {
	if (query !== wanted) [arrived, listed, leftOut, missed, paused] = [[], [], 0, false, false]
	wanted = query
	if (!query || document.hidden) {
		source?.close()
		source = undefined
		return
	}
	if (source?.query === query && source.readyState !== EventSource.CLOSED) return
	source?.close()
	source = new EventSource('api/v1/events?' + query)
	source.query = query
	source.onmessage = (m) => {
		arrived.push(JSON.parse(m.data))
		if (arrived.length > most) { arrived.shift(); leftOut++ }
		paint()
	}
	source.addEventListener('missed', (m) => {
		leftOut += JSON.parse(m.data).leftOut
		missed = true
		if (view.path === 'events') draw()
	})
	const mine = source
	source.onerror = () => { // the browser comes back by itself, unless it was refused
		if (mine.readyState !== EventSource.CLOSED) return
		missed = true
		if (view.path === 'events') draw()
		setTimeout(() => source === mine && watch(wanted), 3000)
	}
}

/** Shows what has come, once for each picture of the screen. */
function paint() {
	if (painting || paused) return
	painting = true
	requestAnimationFrame(() => {
		painting = false
		const fresh = arrived.reverse()
		arrived = []
		listed = [...fresh, ...listed].slice(0, most)
		const list = $('#events')
		if (!list) return
		list.prepend(...fresh.map(eventItem))
		while (list.childElementCount > most) list.lastElementChild.remove()
	})
}

// ---- acts
let victim
function askKick(who) {
	victim = who
	const f = $('#kick form')
	f.reset()
	$('#kick-who').replaceChildren(...(who.users ? [who.users.length + ' users: ', ...who.users.slice(0, 10).flatMap((u, i) => [i ? ', ' : '', text(u)]), who.users.length > 10 ? ', …' : ''] : ['User ', text(who.user), who.conn ? ', connection #' + who.conn + ' alone' : ', all sessions']))
	if (who.offline) f.ban.value = '3600'
	f.ban.onchange = () => { $('#kick-note').textContent = f.ban.value !== '0' && who.conn ? 'The time counts for the user, on each device.' : '' }
	$('#kick-note').textContent = ''
	f.go.disabled = false
	$('#kick').showModal()
	f.text.focus()
}

$('#kick form').onsubmit = async (e) => {
	e.preventDefault()
	const f = e.currentTarget
	const body = { text: f.text.value, banSeconds: Number(f.ban.value) }
	f.go.disabled = true
	$('#kick-note').textContent = 'Waiting until the client has been told …'
	try {
		const v = victim.users ? await api('kick', { users: victim.users, ...body }) : victim.conn ? await api('conns/' + victim.conn + '/kick', body) : await api('users/kick', { user: victim.user, ...body })
		const all = v.kicked ?? [v]
		const ends = all.flatMap((k) => k.sessions.map((s) => s.outcome))
		const counts = {}
		for (const o of ends) counts[o] = (counts[o] ?? 0) + 1
		const failed = all.filter((k) => k.error).length
		$('#kick').close()
		picked.clear()
		document.querySelectorAll('main input[type=checkbox]').forEach((c) => { c.checked = false })
		toast(all.length === 1 ? text(all[0].user) : all.length + ' users', ': ', Object.entries(counts).map(([o, n]) => n + (n === 1 ? ' session ' : ' sessions ') + (o === 'told' ? 'told, and ended' : o)).join(', ') || 'no session to end',
			failed ? ', ' + failed + ' not online' : '', all[0].until ? '; stays out until ' + new Date(all[0].until).toLocaleString() : '')
		load(true)
	} catch (e) {
		f.go.disabled = false
		$('#kick-note').textContent = e.message
	}
}

async function unban(id) {
	try {
		const v = await api('users/unban', { user: id })
		toast(text(id), v.banned ? ' may come back.' : ' was not banned.')
	} catch (e) {
		toast(e.message)
	}
}

$('#mode').onclick = () => {
	$('#unlock form').reset()
	$('#unlock-note').textContent = ''
	$('#unlock').showModal()
}
$('#unlock form').onsubmit = async (e) => {
	e.preventDefault()
	const before = token
	token = e.currentTarget.token.value.trim()
	await status()
	if (mayAct()) {
		$('#unlock').close()
		load(true)
		return
	}
	token = before
	$('#unlock-note').textContent = 'This token allows nothing more.'
}
for (const d of ['#kick', '#unlock']) $(d + ' [name=cancel]').onclick = () => $(d).close()

$('#search').onsubmit = (e) => {
	e.preventDefault()
	const q = e.currentTarget.q.value
	if (q) go('sessions', { q })
}
// "/" goes to the search, when it is let go: the character is not to be written there.
const isSlash = (e) => e.key === '/' && !e.ctrlKey && !e.metaKey && !/^(INPUT|SELECT)$/.test(e.target.tagName) && !$('dialog[open]')
document.onkeydown = (e) => isSlash(e) && e.preventDefault()
document.onkeyup = (e) => isSlash(e) && $('#search').q.select()

// ---- which view is shown
let view = { path: '', rest: '', p: new URLSearchParams(), tree: overviewView }

const shell = (...children) => h('main', { id: 'main', tabindex: '-1' }, ...children)

function draw() {
	const tree = view.tree()
	tree.dataset.key = now // so that nothing of another view stays
	patch(main, shell(tree))
}

/** Loads what the view shows, and draws it. again says that it is shown already. */
async function load(again = false) {
	const mine = now
	const { path, rest, p } = view
	try {
		const made = path === '' ? overviewView : path === 'refused' ? refusedView : path === 'events' ? eventsView
			: path === 'sessions' ? await sessionsView(p) : path === 'ended' ? await endedView(p) : path === 'user' ? await userView(rest) : path === 'conn' ? await connView(rest)
				: () => h('p', 'There is no such view. ', link('#/', 'Overview'))
		if (mine !== now) return
		view.tree = made
		draw()
		if (!again) main.focus({ preventScroll: true })
	} catch (e) {
		if (mine !== now) return
		if (e.status === 429 || e.status === 0) { // another scan runs, or the server is away
			if (!again) patch(main, shell(h('p', e.status ? 'Another look at all sessions is running. Waiting for it …' : e.message)))
			setTimeout(() => mine === now && load(again), 1000)
			return
		}
		if (!again) patch(main, shell(h('h1', 'This cannot be shown'), h('p', { class: 'bad' }, e.message)))
	}
}

function route() {
	const [where, query = ''] = location.hash.replace(/^#\/?/, '').split('?')
	const [path, ...rest] = where.split('/')
	now++
	scrollTo(0, 0)
	let id = rest.join('/')
	try { id = decodeURIComponent(id) } catch { /* as it stands */ }
	view = { path, rest: id, p: new URLSearchParams(query), tree: () => h('p', 'Loading …') }
	picked.clear()
	document.title = (path ? path[0].toUpperCase() + path.slice(1) + (id ? ' ' + id : '') + ' – ' : '') + 'Rollcall'
	for (const a of document.querySelectorAll('header nav a')) {
		if (a.getAttribute('href') === '#/' + (path === 'user' || path === 'conn' ? 'sessions' : path)) a.setAttribute('aria-current', 'page')
		else a.removeAttribute('aria-current')
	}
	$('#search').q.value = view.p.get('q') ?? ''
	watch(path === 'events' ? 'kind=' + shownKinds : path === 'user' ? 'user=' + encodeURIComponent(id) + '&kind=' + shownKinds : '')
	load()
	if (path === '') status()
}

addEventListener('hashchange', route)
$('.skip').onclick = (e) => { e.preventDefault(); main.focus() }
document.onvisibilitychange = () => {
	watch(wanted)
	if (!document.hidden) { status(); load(true) }
}
setInterval(status, 2000)
setInterval(() => { if (!document.hidden && ['user', 'conn'].includes(view.path)) load(true) }, 2000)
status().finally(route)
