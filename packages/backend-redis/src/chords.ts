import type { ChordKeys, KeyValueChords, StoredValue } from '@lovage/core/backend';
import { type RedisLink, RedisScript } from '@lovage/redis';

/** KEYS: size, claim. ARGV: size, TTL (0: none). A chord that is done is not begun again. */
const BEGIN = new RedisScript(`
if redis.call('GET', KEYS[2]) == 'done' then return 0 end
if ARGV[2] == '0' then redis.call('SET', KEYS[1], ARGV[1]) else redis.call('SETEX', KEYS[1], ARGV[2], ARGV[1]) end
redis.call('PUBLISH', KEYS[1], ARGV[1])
return 1
`);

/**
 * Adds a part under its task id, and gives all parts to whoever completes the chord. Python workers add parts without
 * looking for one that is there already, so what is there is counted by id before it counts as complete. `says` is
 * `isPartOf` of the core.
 * Source: celery/backends/redis.py, on_chord_part_return.
 *
 * KEYS: parts, added, size, claim. ARGV: part, task id, index, TTL (0: none), 1 if ordered.
 */
const PART = new RedisScript(`
local parts, taskId, ordered = KEYS[1], ARGV[2], ARGV[5] == '1'
local claim = redis.call('GET', KEYS[4])
if claim == 'done' then return false end

local function begins(member, from)
  if string.find(string.sub(member, from - 1, from - 1), '["\\' ]') then return true end
  local first, length = string.byte(member, from - 2, from - 1)
  return length == 160 + #taskId or (first == 217 and length == #taskId)
end
local function says(member)
  local from = string.find(member, taskId, 4, true)
  if not from or from > 13 or not begins(member, from) then return nil end
  local after = from + #taskId
  if not string.find(string.sub(member, after, after), '["\\',\\n\\128-\\255]') then return nil end
  return string.find(string.sub(member, after, after + 12), 'SUCCESS', 1, true) and 'succeeded' or 'ended'
end
local function remove(member)
  if ordered then redis.call('ZREM', parts, member) else redis.call('LREM', parts, 1, member) end
end

local near
if ordered then near = redis.call('ZRANGEBYSCORE', parts, ARGV[3], ARGV[3]) else near = redis.call('LRANGE', parts, 0, -1) end
local isKept = false
for i = 1, #near do
  local said = says(near[i])
  if said == 'succeeded' or near[i] == ARGV[1] then isKept = true elseif said then remove(near[i]) end
end
if not isKept then
  if ordered then redis.call('ZADD', parts, ARGV[3], ARGV[1]) else redis.call('RPUSH', parts, ARGV[1]) end
end
if ARGV[4] ~= '0' then
  for i = 1, 3 do redis.call('EXPIRE', KEYS[i], ARGV[4]) end
end

local size = redis.call('GET', KEYS[3])
if not size then return false end
local total = tonumber(size) + tonumber(redis.call('GET', KEYS[2]) or '0')
local count
if ordered then count = redis.call('ZCARD', parts) else count = redis.call('LLEN', parts) end
if count < total then return false end

local all
if ordered then all = redis.call('ZRANGE', parts, 0, -1) else all = redis.call('LRANGE', parts, 0, -1) end
local places, kept = {}, {}
for i = 1, #all do
  local id = string.match(all[i], '^%[1, ?"([^"]*)"') or all[i]
  local place = places[id]
  if not place then
    kept[#kept + 1] = all[i]
    places[id] = #kept
  elseif string.find(all[i], '^%[1, ?"[^"]*", ?"SUCCESS"') and not string.find(kept[place], '^%[1, ?"[^"]*", ?"SUCCESS"') then
    remove(kept[place])
    kept[place] = all[i]
  else
    remove(all[i])
  end
end
if #kept < total then return false end
if claim and claim ~= taskId then return false end
if ARGV[4] == '0' then redis.call('SET', KEYS[4], taskId) else redis.call('SETEX', KEYS[4], ARGV[4], taskId) end
return kept
`);

/** KEYS: parts, added, size, claim, addedIds. ARGV: seconds for which it is remembered that the chord is done. */
const FINISH = new RedisScript(`
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[5])
redis.call('SETEX', KEYS[4], ARGV[1], 'done')
return 1
`);

/** KEYS: added, addedIds. ARGV: task id, TTL (0: none). */
const EXTEND = new RedisScript(`
if redis.call('SADD', KEYS[2], ARGV[1]) == 0 then return 0 end
redis.call('INCR', KEYS[1])
if ARGV[2] ~= '0' then
  redis.call('EXPIRE', KEYS[1], ARGV[2])
  redis.call('EXPIRE', KEYS[2], ARGV[2])
end
return 1
`);

/** How long a chord that is done is remembered where results are kept for ever. */
const A_DAY = 86_400;

/** Chords as Python workers keep them in Redis, each step one script. */
export class RedisChords implements KeyValueChords {
  readonly #link: RedisLink;
  readonly #ordered: boolean;

  /** `ordered`: Celery's `result_chord_ordered`. All workers of a chord must agree on it. */
  constructor(link: RedisLink, ordered: boolean) {
    this.#link = link;
    this.#ordered = ordered;
  }

  async begin({ size: key, claim }: ChordKeys, size: number, ttlSeconds: number | undefined): Promise<void> {
    await BEGIN.run(this.#link, 2, [key, claim, size, ttlSeconds ?? 0]);
  }

  async part(
    { parts, added, size, claim }: ChordKeys,
    {
      value,
      taskId,
      index,
    }: { readonly value: StoredValue; readonly taskId: string; readonly index: number | undefined },
    ttlSeconds: number | undefined,
  ): Promise<readonly StoredValue[] | undefined> {
    const keys = [parts, added, size, claim];
    const args = [value, taskId, index ?? '+inf', ttlSeconds ?? 0, this.#ordered ? 1 : 0];
    const all = await PART.run(this.#link, 4, [...keys, ...args]);
    return all === null ? undefined : (all as readonly Buffer[]);
  }

  async finish({ parts, added, size, claim, addedIds }: ChordKeys, ttlSeconds: number | undefined): Promise<void> {
    await FINISH.run(this.#link, 5, [parts, added, size, claim, addedIds, ttlSeconds ?? A_DAY]);
  }

  async extend({ added, addedIds }: ChordKeys, taskId: string, ttlSeconds: number | undefined): Promise<void> {
    await EXTEND.run(this.#link, 2, [added, addedIds, taskId, ttlSeconds ?? 0]);
  }
}
