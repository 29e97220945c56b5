/**
 * One record of a PAX extended header: `length key=value\n`, where length counts the whole record with its own digits
 * (POSIX.1-2017 pax, "pax Extended Header"). Values are bytes: xattrs and names that are not UTF-8 pass unchanged.
 */
export function formatPaxRecord(key: string, value: Uint8Array | string): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`, 'latin1'), Buffer.from(value), Buffer.from('\n')])
  let length = rest.length + 1
  while (rest.length + `${length}`.length > length) length = rest.length + `${length}`.length
  return Buffer.concat([Buffer.from(`${length}`), rest])
}

/**
 * A time of a PAX record in seconds, with as many digits as it needs. A negative time is written as the negative
 * decimal it is: one nanosecond before the epoch is -0.000000001.
 */
export function formatPaxTime(nanoseconds: bigint): string {
  const magnitude = nanoseconds < 0n ? -nanoseconds : nanoseconds
  const fraction = `${magnitude % 1_000_000_000n}`.padStart(9, '0').replace(/0+$/, '')
  const sign = nanoseconds < 0n ? '-' : ''
  return `${sign}${magnitude / 1_000_000_000n}${fraction === '' ? '' : `.${fraction}`}`
}
