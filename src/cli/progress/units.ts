const sizeUnits = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']

/** Bytes as docker prints them: decimal units, `26.66MB`. */
export function formatSize(bytes: number, digits = 4): string {
  let value = Math.max(0, bytes)
  let unit = 0
  while (unit < sizeUnits.length - 1 && Number(value.toPrecision(digits)) >= 1000) {
    value /= 1000
    unit++
  }
  return `${Number(value.toPrecision(digits))}${sizeUnits[unit]}`
}

/** Bytes per second, `96.1MB/s`. */
export function formatRate(bytesPerSecond: number): string {
  return `${formatSize(bytesPerSecond, 3)}/s`
}

/** `0.3s`, `12s`, `2m05s`, `1h02m`. */
export function formatDuration(ms: number): string {
  const seconds = Math.max(0, ms) / 1000
  if (seconds < 9.95) return `${seconds.toFixed(1)}s`
  const whole = Math.round(seconds)
  const pad = (value: number) => String(value).padStart(2, '0')
  if (whole < 60) return `${whole}s`
  if (whole < 3600) return `${Math.floor(whole / 60)}m${pad(whole % 60)}s`
  return `${Math.floor(whole / 3600)}h${pad(Math.floor((whole % 3600) / 60))}m`
}

/** `[=====>    ]`, as docker draws it; `width` counts the brackets. */
export function formatBar(share: number, width: number): string {
  const inner = width - 2
  const filled = Math.round(Math.min(1, Math.max(0, share)) * inner)
  const body = filled === inner ? '='.repeat(inner) : `${'='.repeat(filled)}>`.slice(0, inner).padEnd(inner)
  return `[${body}]`
}
