/** Everything that the doctor can find, in words for people. A finding's code never changes; `explain` tells what stands in `catalogue/`. */
import { decompressors } from './catalogue/decompressors.ts'
import { disks } from './catalogue/disks.ts'
import { engines } from './catalogue/engines.ts'
import type { Entries, Entry } from './catalogue/entry.ts'
import { host } from './catalogue/host.ts'
import { network } from './catalogue/network.ts'
import { pulls } from './catalogue/pulls.ts'
import { queues } from './catalogue/queues.ts'
import { resources } from './catalogue/resources.ts'
import { security } from './catalogue/security.ts'

export type { Severity } from './catalogue/entry.ts'

/** In the order in which they are shown. */
const tables = {
  ...{ engines, pulls: { ...pulls, ...queues }, decompressors, disks, network, security, resources, host },
} as const satisfies Record<string, Entries>

export type Area = keyof typeof tables

/** The order in which areas are shown. */
export const areas = Object.keys(tables) as readonly Area[]

type CodesOf<T> = T extends unknown ? keyof T & string : never
export type FindingCode = CodesOf<(typeof tables)[Area]>
export type Language = 'en' | 'zh'

/** By code. */
export const catalogue = Object.fromEntries(
  areas.flatMap(area => Object.entries<Entry>(tables[area]).map(([code, entry]) => [code, { area, ...entry }])),
) as Readonly<Record<FindingCode, Entry & { readonly area: Area }>>

export function isFindingCode(text: string): text is FindingCode {
  return Object.hasOwn(catalogue, text)
}

/** Chinese where the locale says so, as the C library reads the variables. */
export function languageOf(env: Readonly<Record<string, string | undefined>>): Language {
  const locale = env['LC_ALL'] || env['LC_MESSAGES'] || env['LANG'] || ''
  return /^zh([_.@-]|$)/i.test(locale) ? 'zh' : 'en'
}
