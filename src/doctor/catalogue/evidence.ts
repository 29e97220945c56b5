/** Evidence in the language of the reader. It is made in English, from sentences with gaps; by these sentences it is told in another language. */
import { evidenceZh } from './evidence-zh.ts'

/** What fills a gap may be a sentence with gaps itself. */
const depthMax = 4
/** What is longer is somebody's message. */
const textMax = 2000

interface Phrase {
  readonly pattern: RegExp
  readonly told: string
}

/** The most particular first. */
const phrases: readonly Phrase[] = evidenceZh
  .toSorted(([a], [b]) => literalLength(b) - literalLength(a))
  .map(([english, told]) => ({ pattern: patternOf(english), told }))

function literalLength(english: string): number {
  return english.replaceAll('{}', '').length
}

function patternOf(english: string): RegExp {
  const parts = english.split('{}').map(part => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  return new RegExp(`^${parts.join('(.+?)')}$`, 's')
}

/** One line of evidence in the language of the reader. */
export function tellEvidence(text: string, language: 'en' | 'zh'): string {
  return language === 'zh' ? translateEvidence(text) : text
}

/** One line of evidence in Chinese; what nobody has said in Chinese stays as it is. */
export function translateEvidence(text: string, depth = 0): string {
  if (depth === depthMax || text.length > textMax) return text
  const list = depth === 0 ? text : translateList(text, depth)
  if (list !== text) return list
  for (const { pattern, told } of phrases) {
    const match = pattern.exec(text)
    if (match === null) continue
    const gaps = match.slice(1).map(gap => translateEvidence(gap, depth + 1))
    return told.replace(/\{(\d)\}/g, (_, at: string) => gaps[Number(at)] ?? '')
  }
  return text
}

/** What fills a gap may be a list, each part of which has its words. */
function translateList(text: string, depth: number): string {
  const parts = text.split(', ')
  const told = parts.length === 1 ? parts : parts.map(part => translateEvidence(part, depth + 1))
  return told.some((part, at) => part === parts[at]) ? text : told.join('，')
}
