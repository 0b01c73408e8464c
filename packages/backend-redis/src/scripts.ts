import { RedisScript } from '@lovage/redis';

/** A guarded key that was left alone, because it holds a FAILURE or REVOKED. */
export const HOLDS_FAILURE = 'holds a failure';

/**
 * Writes values and publishes them on channels of the same names, but for keys that hold a SUCCESS and are guarded.
 * Source: celery/backends/redis.py, _set; celery/backends/base.py, _store_result (which reads first and writes then).
 *
 * KEYS: the keys. ARGV: bytes to look at, number of marks of a SUCCESS, number of all marks, the marks, then value, TTL
 * (0: none), guard (0: none, 1: against a SUCCESS, 2: against every end) for each key.
 * Gives position and error of each key that could not be written; the error is {@link HOLDS_FAILURE} where somebody has to
 * look at the end that is there.
 */
export const WRITE: RedisScript = new RedisScript(`
local window, successes, marks = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local at = 3 + marks
local failed = {}
for i = 1, #KEYS do
  local key, value, ttl = KEYS[i], ARGV[at + 1], ARGV[at + 2]
  local isKept = false
  local result
  local guard = ARGV[at + 3]
  if guard ~= '0' then
    local head = redis.pcall('GETRANGE', key, 0, window - 1)
    if type(head) ~= 'string' then
      result = head
    elseif head ~= '' then
      for m = 1, guard == '2' and marks or successes do
        if string.find(head, ARGV[3 + m], 1, true) then
          if m > successes then result = { err = '${HOLDS_FAILURE}' } else isKept = true end
        end
      end
    end
  end
  if not isKept and not result then
    if ttl == '0' then result = redis.pcall('SET', key, value) else result = redis.pcall('SETEX', key, ttl, value) end
    if not result.err then redis.call('PUBLISH', key, value) end
  end
  if result and result.err then
    -- At the memory limit nothing goes on, for this key or another: the caller may try again.
    if string.find(result.err, '^-?OOM') then return result end
    failed[#failed + 1] = i - 1
    failed[#failed + 1] = result.err
  end
  at = at + 3
end
return failed
`);

/** KEYS: the key. ARGV: 1 if it held something, what it held, value, TTL (0: none). Gives 0 if it holds something else now. */
export const READ_THEN_WRITE: RedisScript = new RedisScript(`
local present = redis.call('GET', KEYS[1])
if (ARGV[1] == '1') ~= (present ~= false) then return 0 end
if present and present ~= ARGV[2] then return 0 end
if ARGV[4] == '0' then redis.call('SET', KEYS[1], ARGV[3]) else redis.call('SETEX', KEYS[1], ARGV[4], ARGV[3]) end
redis.call('PUBLISH', KEYS[1], ARGV[3])
return 1
`);
