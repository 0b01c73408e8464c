import { RedisScript } from '@lovage/redis';

/**
 * Writes values and publishes them on channels of the same names, but for keys that hold a SUCCESS and are guarded.
 * Source: celery/backends/redis.py, _set; celery/backends/base.py, _store_result (which reads first and writes then).
 *
 * KEYS: the keys. ARGV: bytes to look at, number of marks, the marks, then value, TTL (0: none), 1 if guarded, for each key.
 * Gives position and error of each key that could not be written.
 */
export const WRITE: RedisScript = new RedisScript(`
local window, markCount = tonumber(ARGV[1]), tonumber(ARGV[2])
local at = 2 + markCount
local failed = {}
for i = 1, #KEYS do
  local key, value, ttl = KEYS[i], ARGV[at + 1], ARGV[at + 2]
  local isKept = false
  local result
  if ARGV[at + 3] == '1' then
    local head = redis.pcall('GETRANGE', key, 0, window - 1)
    if type(head) == 'string' then
      for m = 1, markCount do
        if string.find(head, ARGV[2 + m], 1, true) then isKept = true end
      end
    else
      result = head
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
