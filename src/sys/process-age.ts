import type { HostView } from './host-view.ts'

/** USER_HZ is 100 for every program on Linux. */
export const ticksPerSecond = 100

/** @param startTicks since the boot */
export function secondsSince(host: HostView, startTicks: number): number {
  const uptime = Number(/^\S+/.exec(host.text('/proc/uptime') ?? '')?.[0] ?? Number.NaN)
  return Math.max(0, uptime - startTicks / ticksPerSecond)
}

/** In milliseconds since 1970, within some hundredths of a second; NaN where it cannot be seen. @param startTicks since the boot */
export function startOf(host: HostView, startTicks: number): number {
  return host.now() - secondsSince(host, startTicks) * 1000
}

export function formatAge(host: HostView, startTicks: number): string {
  const seconds = secondsSince(host, startTicks)
  return seconds >= 3600 ? `${(seconds / 3600).toFixed(1)} h` : `${Math.round(seconds)} s`
}
