import { RedisScript } from '@lovage/redis';

/**
 * Takes messages and records them as unacked in one step, so that none can be lost between the two (Kombu's window).
 * Envelopes stay as they are; the record's key is a tag of this claim: `consumer:number:deliveries:step`.
 *
 * KEYS: the delayed set of each queue, the lists, all queues of a step together. The other keys are arguments: before 7.0.9
 * Redis makes CLIENT TRACKING remember all keys of a script that reads one, and every ack would be a hint.
 * ARGV: most to take, first number, consumer, lease in ms, number of queues, number of steps, most bytes, unacked,
 * unacked_index, leases, the steps, the end of the record of each queue, then tag and bytes of each message that the caller
 * has sent itself a moment ago.
 * Gives: server time in ms, ms until the next delayed message is due, -1 for none, or -2 when there may be more, then for
 * each list its position, the number of messages, and message and delivery count of each; of a message that the caller has
 * sent itself and that is as it was, only which one it is, from 0.
 *
 * RPOP comes before HSET: at its memory limit Redis refuses a script whose first write adds, not one that began with a
 * removal. When nothing is left, the keys are read (EXISTS, ZRANGE), which is what CLIENT TRACKING remembers: whoever took
 * the last message need not ask again before it is told of another one.
 */
export const PULL: RedisScript = new RedisScript(`
local unacked, index, leases = ARGV[8], ARGV[9], ARGV[10]
local max, number, consumer = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local queues, steps, mostBytes = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local firstList = queues
local firstOwn = 11 + steps + queues
-- A text ends with its tag, a uuid, and '"}}'.
local tagFrom, tagTo = -39, -4
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

for queue = 1, queues do
  local delayed = KEYS[queue]
  local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, 200)
  for i = 1, #due do
    redis.call('ZREM', delayed, due[i])
    local list = KEYS[firstList + tonumber(string.sub(due[i], 1, 1)) * queues + queue]
    local pushed = redis.pcall('LPUSH', list, string.sub(due[i], 2))
    if type(pushed) == 'table' and pushed.err then
      redis.call('ZADD', delayed, now, due[i])
      return pushed
    end
  end
end

local out = { now, -1 }
local size = 2
local records, scores = { 'HSET', unacked }, { 'ZADD', index }
local score = string.format('%d.%06d', time[1], time[2])
local sources = {}
local taken, bytes = 0, 0
for list = 1, queues * steps do
  if taken >= max or bytes > mostBytes then break end
  local key = KEYS[firstList + list]
  local ending = ARGV[11 + steps + (list - 1) % queues]
  local step = ':' .. ARGV[11 + math.floor((list - 1) / queues)]
  repeat
    local wanted = math.min(max - taken, 64)
    local popped = redis.call('RPOP', key, wanted)
    local got = popped and #popped or 0
    if got > 0 then
      out[size + 1], out[size + 2] = list - 1, got
      size = size + 2
      for i = 1, got do
        local text = popped[i]
        local count = 1
        local mark = string.find(text, '"lv-', -100, true)
        if mark then count = (tonumber(string.match(text, '^"lv%-(%d+)%-', mark)) or 0) + 1 end
        local tag = consumer .. ':' .. number .. ':' .. count .. step
        records[#records + 1] = tag
        records[#records + 1] = '[' .. text .. ending
        scores[#scores + 1] = score
        scores[#scores + 1] = tag
        out[size + 1], out[size + 2] = text, count
        for own = firstOwn, #ARGV, 2 do
          if #text == tonumber(ARGV[own + 1]) and string.sub(text, tagFrom, tagTo) == ARGV[own] then
            out[size + 1] = (own - firstOwn) / 2
          end
        end
        size = size + 2
        number = number + 1
        bytes = bytes + #text
      end
      sources[#sources + 1] = { key, popped }
      taken = taken + got
    end
  until got < wanted or taken >= max or bytes > mostBytes
end

if taken > 0 then
  local kept = redis.pcall(unpack(records))
  if type(kept) == 'number' then kept = redis.pcall(unpack(scores)) end
  if type(kept) ~= 'number' then
    for s = #sources, 1, -1 do
      for i = #sources[s][2], 1, -1 do redis.call('RPUSH', sources[s][1], sources[s][2][i]) end
    end
    return kept
  end
  redis.call('ZADD', leases, now + tonumber(ARGV[4]), consumer)
end
if taken >= max or bytes > mostBytes then
  out[2] = -2
else
  redis.call('EXISTS', unpack(KEYS, firstList + 1))
  for queue = 1, queues do
    local first = redis.call('ZRANGE', KEYS[queue], 0, 0, 'WITHSCORES')
    if first[2] then
      local left = math.max(0, tonumber(first[2]) - now)
      if out[2] < 0 or left < out[2] then out[2] = left end
    end
  end
end
return out
`);

/**
 * Functions that put a message back. The text stays what it was, but for the flags that Kombu sets too
 * (`headers.redelivered`, `properties.delivery_info.redelivered`) and the delivery tag, which gets a new value that
 * carries the number of deliveries: `lv-2-...`. Whoever takes it next, in Python too, records it under that tag, so that
 * a late acknowledgement of the former holder reaches nobody.
 */
const RESTORING = `
local function lastFind(text, what, from)
  local found
  local at = string.find(text, what, from, true)
  while at do
    found = at
    at = string.find(text, what, at + 1, true)
  end
  return found
end

local function addFlag(text, name, at)
  if not at then return text end
  local open = string.match(text, '^%s*{()', at + #name)
  if not open or string.find(text, '^%s*"redelivered":%s*true', open) then return text end
  local comma = string.find(text, '^%s*}', open) and '' or ','
  return string.sub(text, 1, open - 1) .. '"redelivered":true' .. comma .. string.sub(text, open)
end

local function mark(text, tag)
  text = addFlag(text, '"headers":', string.find(text, '"headers":', 1, true))
  text = addFlag(text, '"delivery_info":', lastFind(text, '"delivery_info":', 1))
  local name = '"delivery_tag":'
  local at = lastFind(text, name, 1)
  if at then
    local open, close = string.match(text, '^%s*()"[^"\\\\]*"()', at + #name)
    if open then text = string.sub(text, 1, open - 1) .. '"' .. tag .. '"' .. string.sub(text, close) end
  end
  return text
end

local function restoreOwn(unacked, index, prefix, separator, tag)
  local record = redis.call('HGET', unacked, tag)
  if not record then
    redis.call('ZREM', index, tag)
    return false
  end
  local text, quoted = string.match(record, '^%[(.*), "", (".*")%]$')
  local base, count, step = string.match(tag, '^(.*):(%d+):(%d+)$')
  if not text or not base then return false end
  local list = prefix .. cjson.decode('[' .. quoted .. ']')[1]
  if step ~= '0' then list = list .. separator .. step end
  redis.call('HDEL', unacked, '')
  local pushed = redis.pcall('RPUSH', list, mark(text, 'lv-' .. count .. '-' .. base))
  if type(pushed) == 'table' and pushed.err then return pushed end
  redis.call('HDEL', unacked, tag)
  redis.call('ZREM', index, tag)
  return true
end

local function newestFirst(tags)
  local numbers = {}
  for i = 1, #tags do numbers[tags[i]] = tonumber(string.match(tags[i], ':(%d+):%d+:%d+$')) or 0 end
  table.sort(tags, function(a, b) return numbers[a] > numbers[b] end)
end
`;

/**
 * Gives messages of one consumer back to where they came from, to be served next, the oldest first.
 * The removal of nothing (HDEL of an empty field) lets the push pass when Redis is at its memory limit.
 *
 * KEYS: unacked, unacked_index. ARGV: prefix, separator, tags. Gives an error if a list cannot take its message.
 */
export const REQUEUE: RedisScript = new RedisScript(`${RESTORING}
local tags, failure = {}, nil
for i = 3, #ARGV do tags[i - 2] = ARGV[i] end
newestFirst(tags)
for i = 1, #tags do
  local done = restoreOwn(KEYS[1], KEYS[2], ARGV[1], ARGV[2], tags[i])
  if type(done) == 'table' then failure = done end
end
return failure or #tags
`);

/**
 * Gives back what Lovage consumers hold whose lease has ended. Their tags begin with their name; they are looked for
 * among those fetched before the lease ended, with five seconds to spare for a clock that was set.
 *
 * A server that slept (SIGSTOP, a moved machine) finds every lease ended: when more time has passed since the last look than
 * a look takes, the living get a round to renew theirs, and nothing is given back.
 *
 * KEYS: unacked, unacked_index, leases. ARGV: prefix, separator, own name, most to restore, server time of the last look in
 * ms or 0, most ms since then, visibility timeout in ms.
 * Gives: server time in ms, messages restored, ms until the next lease ends or -1, 1 if messages of Python workers are
 * older than the visibility timeout.
 */
export const SWEEP: RedisScript = new RedisScript(`${RESTORING}
local unacked, index, leases = KEYS[1], KEYS[2], KEYS[3]
local most = tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local restored = 0
local last = tonumber(ARGV[5])
if last > 0 and now - last <= tonumber(ARGV[6]) then
  local ended = redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'WITHSCORES', 'LIMIT', 0, 20)
  for i = 1, #ended, 2 do
    local consumer = ended[i]
    if consumer ~= ARGV[3] then
      local limit = tonumber(ended[i + 1]) / 1000 + 5
      local tags, from = {}, 0
      repeat
        local page = redis.call('ZRANGEBYSCORE', index, '-inf', limit, 'LIMIT', from, 500)
        for j = 1, #page do
          if #tags < most and string.sub(page[j], 1, #consumer + 1) == consumer .. ':' then tags[#tags + 1] = page[j] end
        end
        from = from + 500
      until #page < 500 or #tags >= most
      newestFirst(tags)
      local stuck = false
      for j = 1, #tags do
        local done = restoreOwn(unacked, index, ARGV[1], ARGV[2], tags[j])
        if done == true then restored = restored + 1 elseif type(done) == 'table' then stuck = true end
      end
      if #tags < most and not stuck then redis.call('ZREM', leases, consumer) end
    end
  end
end
local upcoming = redis.call('ZRANGEBYSCORE', leases, '(' .. string.format('%d', now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local left = -1
if upcoming[2] then left = tonumber(upcoming[2]) - now end
local old = redis.call('ZRANGEBYSCORE', index, '-inf', (now - tonumber(ARGV[7])) / 1000, 'LIMIT', 0, 1)
return { now, restored, left, #old }
`);

/**
 * Gives back a message that a Python worker holds too long, if it still does.
 *
 * KEYS: unacked, unacked_index, lists to push to. ARGV: tag, its record, bytes of the record behind the envelope.
 */
export const RESTORE_FOREIGN: RedisScript = new RedisScript(`${RESTORING}
local tag, record = ARGV[1], ARGV[2]
if redis.call('HGET', KEYS[1], tag) ~= record then return 0 end
local count, base = string.match(tag, '^lv%-(%d+)%-(.*)$')
local text = string.sub(record, 2, -1 - tonumber(ARGV[3]))
redis.call('HDEL', KEYS[1], '')
for i = 3, #KEYS do
  local copy = mark(text, 'lv-' .. ((tonumber(count) or 0) + 1) .. '-' .. (base or tag) .. (i > 3 and '-' .. i or ''))
  local pushed = redis.pcall('RPUSH', KEYS[i], copy)
  if type(pushed) == 'table' and pushed.err then return pushed end
end
redis.call('HDEL', KEYS[1], tag)
redis.call('ZREM', KEYS[2], tag)
return 1
`);

/**
 * KEYS: unacked_index, leases. ARGV: consumer, lease in ms, tags. Renews what is still ours, for Python's eyes too.
 * Gives the positions of the tags that are gone.
 */
export const RENEW: RedisScript = new RedisScript(`
local time = redis.call('TIME')
local score = string.format('%d.%06d', time[1], time[2])
redis.call('ZADD', KEYS[2], time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[2]), ARGV[1])
local gone, renew = {}, { 'ZADD', KEYS[1], 'XX' }
if #ARGV < 3 then return gone end
local scores = redis.call('ZMSCORE', KEYS[1], unpack(ARGV, 3))
for i = 1, #scores do
  if scores[i] then
    renew[#renew + 1] = score
    renew[#renew + 1] = ARGV[i + 2]
  else
    gone[#gone + 1] = i - 1
  end
end
if #renew > 3 then redis.call(unpack(renew)) end
return gone
`);

/** KEYS: the delayed set. ARGV: ms from now and member, in pairs. */
export const DELAY: RedisScript = new RedisScript(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 1, #ARGV, 2 do redis.call('ZADD', KEYS[1], string.format('%d', now + tonumber(ARGV[i])), ARGV[i + 1]) end
return 1
`);

/** KEYS: the delayed set, the lists of a queue. Gives the number of messages that went. */
export const PURGE: RedisScript = new RedisScript(`
local count = redis.call('ZCARD', KEYS[1])
for i = 2, #KEYS do count = count + redis.call('LLEN', KEYS[i]) end
redis.call('DEL', unpack(KEYS))
return count
`);

/** KEYS: the mutex. ARGV: our token. Source: redis-py, Lock.LUA_RELEASE_SCRIPT. */
export const RELEASE_MUTEX: RedisScript = new RedisScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
`);
