import { test } from 'node:test'
import { properties, runProperty } from './properties.ts'

/** `npm run fuzz` runs them for as long as one likes. The seed is fixed, so that these tests never fail by luck. */
for (const property of properties)
  test(property.name, t => {
    t.diagnostic(`${runProperty(property, { runs: 300, seed: 4 })} inputs`)
  })
