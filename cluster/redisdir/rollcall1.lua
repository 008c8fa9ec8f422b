#!lua name=rollcall1

-- What this process of the server knows. It is not replicated and not stored: a server that was restarted, or promoted, has it no more,
-- and so recovers until the nodes have written their sessions again.
local born
local top = 0         -- the highest version
local clusters = {}   -- by the hash tag of their keys

-- cluster returns what this process knows of the cluster that a key belongs to. Its epoch is another text after each event by which
-- something may have been lost, or may be missing: its base is another for another process, and its turn is another where a node has come
-- back with sessions that the store does not know. In a recovery, while it is not armed, ready are the nodes that are ready, and expected
-- those that others have told. It is lost until it has been armed once: rows of its table may be missing. From then on a node without a row is dead.
local function cluster(key)
  local id = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
  if not born then
    local t = redis.call('TIME')
    born = t[1] .. t[2]
  end
  local base, tag = id .. '.' .. born, string.match(key, '^{(.-)}')
  local c = clusters[tag]
  if not c or c.base ~= base then
    c = {base = base, turn = 0, epoch = base .. '.0', armed = false, lost = true, ready = {}, expected = {}}
    clusters[tag] = c
  end
  return c
end

-- recover begins a recovery, for a store that has lost nothing itself.
local function recover(c)
  c.turn = c.turn + 1
  c.epoch, c.armed, c.ready, c.expected = c.base .. '.' .. c.turn, false, {}, {}
end

local function text(n) return string.format('%.0f', n) end

-- now returns the time in microseconds.
local function now()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000000 + tonumber(t[2])
end

local function raise(floor)
  floor = tonumber(floor)
  if floor > top then top = floor end
end

-- Records: a hash a bucket, user -> 8 bytes of the version, then the body. A record whose body begins with the byte 255 is not counted. The
-- second key has how many of these there are. A value that is none of ours is told with version 1 and the body '\0', which no node can read: too
-- short a one, and one whose version is above all that a number can tell apart.

local function note_uncounted(key, was, is)
  if was ~= is then redis.call('HINCRBY', key, 'records', is and 1 or -1) end
end

local function is_uncounted(raw) return raw and string.byte(raw, 9) == 255 or false end

local function parse(raw)
  if not raw then return 0, '' end
  local v = #raw >= 8 and struct.unpack('>I8', raw) or 0
  if v < 1 or v >= 2^53 then return 1, '\0' end
  return v, string.sub(raw, 9)
end

-- refused returns why a record may not be written; if it may, nil and the record.
local function refused(key, user, prev, e, recovering)
  local c = cluster(key)
  if c.epoch ~= e or not (c.armed or recovering == '1') then return {'RECOVERING'} end
  local raw = redis.call('HGET', key, user)
  local v, body = parse(raw)
  if v ~= tonumber(prev) then return {'CONFLICT', text(v), body} end
  return nil, raw
end

local function write(keys, user, prev, body, raw)
  local key = keys[1]
  raise(prev)
  note_uncounted(keys[2], is_uncounted(raw), string.byte(body, 1) == 255)
  top = math.max(top + 1, now())
  redis.call('HSET', key, user, struct.pack('>I8', top) .. body)
  return {'OK', text(top)}
end

local function swap(keys, args)
  local key, user, prev, body = keys[1], args[1], args[2], args[3]
  local r, raw = refused(key, user, prev, args[4], args[5])
  return r or write(keys, user, prev, body, raw)
end

-- swap_full is swap for a server that has no memory left: it writes what makes a record shorter, and what is written again in a recovery.
local function swap_full(keys, args)
  local key, user, prev, body = keys[1], args[1], args[2], args[3]
  local r, raw = refused(key, user, prev, args[4], args[5])
  if not r and args[5] ~= '1' and 8 + #body >= redis.call('HSTRLEN', key, user) then r = {'FULL'} end
  return r or write(keys, user, prev, body, raw)
end

local function remove(keys, args)
  local r, raw = refused(keys[1], args[1], args[2], args[3], args[4])
  if r then return r end
  raise(args[2])
  note_uncounted(keys[2], is_uncounted(raw), false)
  redis.call('HDEL', keys[1], args[1])
  return {'OK'}
end

-- The table of nodes: a hash, incarnation -> 'A', 'D' (dead) or 'S' (dead, and swept), the number of renewals, a line's end, the member. Besides: 'last', the
-- last incarnation; 'changes', of the table; 'buckets'.

local function row(key, inc)
  local raw = redis.call('HGET', key, inc)
  if not raw then return nil end
  local state, renewals, member = string.match(raw, '^(%u)(%d+)\n(.*)$')
  return {dead = state ~= 'A', swept = state == 'S', renewals = tonumber(renewals), member = member}
end

local function set(key, inc, r)
  redis.call('HSET', key, inc, (r.swept and 'S' or r.dead and 'D' or 'A') .. text(r.renewals) .. '\n' .. r.member)
  redis.call('HINCRBY', key, 'changes', 1)
end

-- alive returns a node's row, or why it has none that lives.
local function alive(key, inc)
  local r = row(key, inc)
  if not r then return nil, 'UNKNOWN' end
  if r.dead then return nil, 'FENCED' end
  return r, 'OK'
end

local function bury(key, inc)
  local r = row(key, inc)
  if r and not r.dead then
    r.dead = true
    set(key, inc, r)
  end
end

-- know keeps an incarnation from being given out.
local function know(key, inc)
  local last = tonumber(redis.call('HGET', key, 'last') or '0')
  if tonumber(inc) > last then redis.call('HSET', key, 'last', inc) end
end

local function stamp(c, key)
  return c.epoch .. '.' .. (c.armed and '1' or '0') .. '.' .. (redis.call('HGET', key, 'changes') or '0')
end

local function view(c, key, status)
  return {status, c.armed and '1' or '0', c.epoch, stamp(c, key), text(top), redis.call('HGETALL', key)}
end

-- incarnations calls f for each node in the table.
local function incarnations(key, f)
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if tonumber(field) then f(field) end
  end
end

-- arm ends the recovery. Nodes that are not ready are buried.
local function arm(c, key)
  for inc in pairs(c.expected) do
    if not row(key, inc) then set(key, inc, {dead = true, renewals = 0, member = '{}'}) end
  end
  incarnations(key, function(inc)
    if not c.ready[inc] then bury(key, inc) end
  end)
  c.armed, c.lost, c.expected = true, false, {}
end

local function all_ready(c, key)
  local all = true
  local function look(inc)
    local r = row(key, inc)
    if not c.ready[inc] and not (r and r.dead) then all = false end
  end
  incarnations(key, look)
  for inc in pairs(c.expected) do look(inc) end
  return all
end

local function tell(keys, args)
  return view(cluster(keys[1]), keys[1], 'OK')
end

-- hear notes what a node knows that comes back: from an argument on the dead, then '-', the known.
local function hear(c, key, args, from)
  local dead = true
  for i = from, #args do
    local inc = args[i]
    if inc == '-' then
      dead = false
    else
      know(key, inc)
      if dead then
        set(key, inc, {dead = true, renewals = 0, member = '{}'})
      else
        c.expected[inc] = true
      end
    end
  end
end

-- open has the store recover, for a node that has acted without it. It returns whether the node's former life goes on.
local function open(c, key, args)
  local member, former = args[1], args[2]
  raise(args[6])
  if c.armed then recover(c) end
  if c.lost then hear(c, key, args, 7) end
  local r = row(key, former)
  local goes_on = r and not r.dead or not r and c.lost and former ~= '0'
  if goes_on then
    know(key, former)
    c.ready[former] = nil
    set(key, former, {dead = false, renewals = (r and r.renewals or 0) + 1, member = member})
  end
  return goes_on
end

-- join: member, former, bootstrap, buckets, open; with open '1': floor, then what hear takes.
local function join(keys, args)
  local key, member, former, bootstrap, buckets = keys[1], args[1], args[2], args[3], args[4]
  local c, opens = cluster(key), args[5] == '1'
  if not c.armed and not opens and bootstrap ~= stamp(c, key) then return {'RECOVERING'} end
  if redis.call('HSETNX', key, 'buckets', buckets) == 0 and redis.call('HGET', key, 'buckets') ~= buckets then
    return {'BUCKETS', redis.call('HGET', key, 'buckets')}
  end
  if opens then
    if open(c, key, args) then return {'OK', former} end
  elseif not c.armed then
    arm(c, key)
  end
  bury(key, former)
  local last = tonumber(redis.call('HGET', key, 'last') or '0')
  local me = text(math.max(last + 1, math.floor(now() / 1000000)))
  incarnations(key, function(inc) -- what is absent, and below the highest number, is dead too
    local r = row(key, inc)
    if r.swept then redis.call('HDEL', key, inc) end
  end)
  know(key, me)
  set(key, me, {dead = false, renewals = 1, member = member})
  return {'OK', me}
end

local function renew(keys, args)
  local key, inc = keys[1], args[1]
  local c = cluster(key)
  raise(args[3])
  raise(now()) -- nodes that lose the store go on from here
  local r, status = alive(key, inc)
  if r then set(key, inc, {dead = false, renewals = r.renewals + 1, member = args[2]}) end
  return view(c, key, status)
end

-- rejoin: incarnation, member, floor, buckets, then the dead, '-', the known.
local function rejoin(keys, args)
  local key, me = keys[1], args[1]
  local c = cluster(key)
  if c.armed then return {'UNKNOWN'} end
  raise(args[3])
  redis.call('HSETNX', key, 'buckets', args[4])
  if c.lost then hear(c, key, args, 5) end
  local r = row(key, me)
  if r and r.dead or not r and not c.lost then return {'FENCED'} end
  know(key, me)
  set(key, me, {dead = false, renewals = (r and r.renewals or 0) + 1, member = args[2]})
  return {'OK'}
end

local function be_ready(keys, args)
  local key, me = keys[1], args[1]
  local c = cluster(key)
  local r, status = alive(key, me)
  if not r then return {status} end
  raise(args[2])
  if c.epoch ~= args[5] then return {'RECOVERING'} end
  if not c.armed then
    c.ready[me] = true
    if args[4] == '1' or args[3] == '1' and not (c.lost and args[6] == '1') and all_ready(c, key) then arm(c, key) end
  end
  return {'OK', c.armed and '1' or '0'}
end

-- may_bury returns why a node may say nothing about dead nodes.
local function may_bury(key, by, epoch)
  local c = cluster(key)
  if not c.armed or c.epoch ~= epoch then return {'RECOVERING'} end
  local r, status = alive(key, by)
  if not r then return {status} end
  return nil
end

local function bury_silent(keys, args)
  local key = keys[1]
  local refused = may_bury(key, args[1], args[2])
  if refused then return refused end
  local r = row(key, args[3])
  if r and r.renewals == tonumber(args[4]) then bury(key, args[3]) end
  return {'OK'}
end

-- swept: by, epoch, then dead nodes.
local function swept(keys, args)
  local key = keys[1]
  local refused = may_bury(key, args[1], args[2])
  if refused then return refused end
  local highest = 0
  incarnations(key, function(inc) highest = math.max(highest, tonumber(inc)) end)
  for i = 3, #args do
    local inc = args[i]
    local r = row(key, inc)
    if r and r.dead then
      if tonumber(inc) == highest then -- absent, it would be taken for one that has joined since
        r.swept = true
        set(key, inc, r)
      else
        redis.call('HDEL', key, inc)
        redis.call('HINCRBY', key, 'changes', 1)
      end
    end
  end
  return {'OK'}
end

local function leave(keys, args)
  bury(keys[1], args[1])
  return {'OK'}
end

-- Only what makes the store grow may fail for want of memory.
local function register(name, f)
  redis.register_function{function_name = 'rollcall1_' .. name, callback = f, flags = {'allow-oom'}}
end

redis.register_function('rollcall1_swap', swap)
register('swap_full', swap_full)
register('remove', remove)
register('table', tell)
register('join', join)
register('renew', renew)
register('rejoin', rejoin)
register('ready', be_ready)
register('bury', bury_silent)
register('swept', swept)
register('leave', leave)
